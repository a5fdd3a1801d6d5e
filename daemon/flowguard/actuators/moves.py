# SPDX-License-Identifier: GPL-2.0-or-later
"""Lets the connections of a host go on that is behind another port now.

A flow in a flowtable is sent to the port that its host was behind when it began. Its entry in
connection tracking is made anew: that takes it out, of hardware as well, and its next packet
goes the new way, whichever end sends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing

from flowguard.core.model import Level
from flowguard.kernel.conntrack import IN_HARDWARE, OFFLOADED, DumpInterrupted, Entry, Filter
from flowguard.kernel.machine import Connections
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.kernel.netlink.ip_addresses import packed

ATTEMPTS = 5
# At once: more flows than a household has.
FLOWS_MOST = 2000
RETRY_SECONDS = 5.0
# By then the kernel has looked by itself, unless a driver is stuck.
COLLECTION_SECONDS = 2.0

log = logging.getLogger(__name__)


class Moves:
    """`placed` returns when the tables know where the host is: sooner pulled, a flow that is
    taken anew would take the old way again.
    """

    def __init__(self, connections: Connections, placed: Callable[[], Awaitable[None]]) -> None:
        self._connections = connections
        self._placed = placed
        self._waiting: dict[str, Filter] = {}
        self._is_following = False
        self._failure = ""

    async def follow(self, moved: Iterable[str], level: Level) -> None:
        """Pull the flows of these addresses out of the flowtables of this level and above.

        Who moves while the tables are being changed is followed with the others after that.
        """
        self._wait_for(moved, IN_HARDWARE if level is Level.HARDWARE else OFFLOADED)
        if self._is_following:
            return
        self._is_following = True
        try:
            while self._waiting:
                await self._placed()
                now, self._waiting = self._waiting, {}
                failed = False
                for wanted in (IN_HARDWARE, OFFLOADED):
                    some = {address for address, their in now.items() if their == wanted}
                    if some and not await self._pull(some, wanted):
                        failed = True
                        self._wait_for(some, wanted)
                if failed:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._is_following = False

    def _wait_for(self, moved: Iterable[str], wanted: Filter) -> None:
        for address in moved:
            # What is offloaded at all includes what is in hardware.
            if self._waiting.get(address) != OFFLOADED:
                self._waiting[address] = wanted

    async def _pull(self, moved: set[str], wanted: Filter) -> bool:
        """Whether nothing is left to be done; a failure that lasts is told once."""
        names = ", ".join(sorted(moved))
        try:
            flows = await self._flows(moved, wanted)
            await self._connections.renew(flows)
            if flows:
                await self._collect()
        except (OSError, MalformedMessage) as error:
            if str(error) != self._failure:
                log.warning("flows of %s stay where they were: %s", names, error)
            self._failure = str(error)
            return False
        self._failure = ""
        if flows:
            log.info("%s moved or left: %d flows start anew", names, len(flows))
        # Where there are more, the rest comes in the next round.
        return len(flows) < FLOWS_MOST

    async def _collect(self) -> None:
        """Until the kernel does, the flowtables and the hardware send to the old port."""
        try:
            await asyncio.wait_for(self._connections.collect(), COLLECTION_SECONDS)
        except OSError as error:  # TimeoutError is one.
            log.debug("the kernel takes moved flows out when it next looks: %r", error)

    async def _flows(self, moved: set[str], wanted: Filter) -> list[Entry]:
        for _ in range(ATTEMPTS):
            try:
                return await self._look(moved, wanted)
            except DumpInterrupted:
                continue
        raise OSError("the connection table changes faster than it can be read")

    async def _look(self, moved: set[str], wanted: Filter) -> list[Entry]:
        # By the address's bytes first: to take a connection apart costs fifty times as much.
        wanted_bytes = [packed(address) for address in moved]
        found: list[Entry] = []
        async with aclosing(self._connections.sweep(wanted)) as batches:
            async for batch in batches:
                for entry in batch:
                    if any(p in entry.key or p in entry.reply_key for p in wanted_bytes):
                        flow = entry.flow()
                        # The real ends, whatever NAT shows to either.
                        if moved & {flow.original.source, flow.reply.source}:
                            found.append(entry)
        return found[:FLOWS_MOST]
