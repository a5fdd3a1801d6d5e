# SPDX-License-Identifier: GPL-2.0-or-later
"""After a step for dropped connections: pulls stalled flows out of hardware and looks
whether they revive one level down.

Deleting a flow's conntrack entry makes the kernel take it back from the engine within a
second; its next packet, in either direction, starts it anew. That is for flows which are
stalled already: a healthy one could meet a firewall's reject first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing

from flowguard.core.events import CrossoverSeen, Event
from flowguard.kernel.conntrack import (
    HW_OFFLOAD,
    IN_HARDWARE,
    TCP,
    DumpInterrupted,
    Entry,
    Flow,
)
from flowguard.kernel.machine import Machine
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.sensors.arms.followed import CLOSE

LOOK_SECONDS = 3.0
READY_SECONDS = 0.1
# Hardware is looked through for so long; by then a drain has ended or never will.
SEARCH_SECONDS = 15.0
# Within one look: fewer packets may just be on their way.
ONE_SIDED_PACKETS = 2
# More flows prove nothing more; all that are stalled are pulled.
WATCHED = 200

log = logging.getLogger(__name__)


class Crossover:
    """One trial at a time; `is_open` tells whether the policy still waits for it.

    `takes_none` tells whether the upper level takes no new flows any more: a flow pulled
    sooner would be taken again.
    """

    def __init__(
        self,
        machine: Machine,
        feed: Callable[[Event], None],
        is_open: Callable[[], bool],
        takes_none: Callable[[], bool],
    ) -> None:
        self._connections = machine.connections
        self._now = machine.clock.now
        self._feed = feed
        self._is_open = is_open
        self._takes_none = takes_none
        self._pulled: dict[Flow, Entry] = {}
        self._revived: set[Flow] = set()
        self._tried: set[Flow] = set()

    async def run(self, stalled: Iterable[Flow], seconds: float) -> None:
        """Pull the stalled flows, those given and others found in hardware; then watch."""
        self._pulled, self._revived, self._tried = {}, set(), set()
        while self._is_open() and not self._takes_none():
            await asyncio.sleep(READY_SECONDS)
        started = self._now()
        await self._pull(stalled)
        before: dict[int, Entry] = {}
        while self._is_open():
            now = self._now()
            if now - started < SEARCH_SECONDS:
                before = await self._search(before)
            await self._look()
            ended = now - started >= seconds
            count = len(self._pulled)
            trying = len(self._tried - self._revived)
            self._feed(CrossoverSeen(now, count, len(self._revived), trying, ended))
            if ended:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _search(self, before: dict[int, Entry]) -> dict[int, Entry]:
        """Pull the TCP flows in hardware of which only one direction moved since `before`."""
        found: dict[int, Entry] = {}
        try:
            async with aclosing(self._connections.sweep(IN_HARDWARE)) as batches:
                async for batch in batches:
                    found.update((e.id, e) for e in batch if e.protocol == TCP)
        except DumpInterrupted:
            return before
        except (OSError, MalformedMessage) as error:
            log.warning("stalled flows cannot be looked for: %s", error)
            return before
        await self._pull(
            entry.flow()
            for number, entry in found.items()
            if number in before and _is_one_sided(before[number], entry)
        )
        return found

    async def _pull(self, flows: Iterable[Flow]) -> None:
        new = [flow for flow in dict.fromkeys(flows) if flow not in self._pulled]
        try:
            entries = await self._connections.find(new)
            in_hardware = [f for f, e in zip(new, entries, strict=True) if e and _is_in(e)]
            await self._connections.delete(in_hardware)
        except (OSError, MalformedMessage) as error:
            log.warning("stalled flows stay where they are: %s", error)
            return
        for flow, entry in zip(new, entries, strict=True):
            if entry and _is_in(entry):
                # Whoever revives begins with counters of his own.
                entry = entry._replace(id=0, original_packets=0, reply_packets=0)
            if entry:
                self._pulled[flow] = entry

    async def _look(self) -> None:
        """Note who revived, and who went on trying: he may give up before the last look."""
        watched = [flow for flow in self._pulled if flow not in self._revived][:WATCHED]
        try:
            entries = await self._connections.find(watched)
        except (OSError, MalformedMessage) as error:
            log.warning("stalled flows cannot be watched: %s", error)
            return
        for flow, entry in zip(watched, entries, strict=True):
            # A reset answers too, but it revives nothing.
            if entry is None or entry.tcp_state == CLOSE:
                continue
            original, reply = _moved(self._pulled[flow], entry)
            if original > 0 and reply > 0:
                self._revived.add(flow)
            elif original > 0 or reply > 0:
                self._tried.add(flow)


def _is_in(entry: Entry) -> bool:
    """Whether it is in hardware."""
    return bool(entry.status & HW_OFFLOAD)


def _moved(before: Entry, entry: Entry) -> tuple[int, int]:
    """Packets of both directions since then; a new entry counts from nothing."""
    if entry.id != before.id:
        return entry.original_packets, entry.reply_packets
    return (
        entry.original_packets - before.original_packets,
        entry.reply_packets - before.reply_packets,
    )


def _is_one_sided(before: Entry, entry: Entry) -> bool:
    moved = _moved(before, entry)
    return min(moved) == 0 and max(moved) >= ONE_SIDED_PACKETS
