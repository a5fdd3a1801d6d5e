# SPDX-License-Identifier: GPL-2.0-or-later
"""Waits until nothing is left in hardware: no flow, no entry of the engine.

Precondition: the hardware table takes no new flows and the flow timeouts are 0, so that
every flow leaves within the former timeout while the driver is still bound and told.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from flowguard.core.events import DrainProgress
from flowguard.core.model import FlowTuple, Level
from flowguard.kernel.conntrack import (
    IN_HARDWARE,
    OFFLOADED,
    DumpInterrupted,
    Filter,
    Flow,
)
from flowguard.kernel.machine import Machine
from flowguard.kernel.netlink.codec import MalformedMessage

ATTEMPTS = 20
TUPLES_SHOWN = 20
TUPLES_RETURNED = 1000
# A look costs a walk over the connection table, so a long drain is watched less closely.
PAUSES = ((10.0, 0.25), (60.0, 1.0))
LONGEST_PAUSE = 5.0
# So long at the least a look may take.
LEAST_SECONDS = 1.0
ENGINE_PAUSE = 1.0
# Reading a full engine takes a slow router seconds: it rests three times as long.
ENGINE_SHARE = 3.0
# The kernel adds flows to hardware from a work queue: one may still be on its way.
LATE_FLOWS = 2.0
# The table's collector comes by every second, late when the router is busy. Until it has freed
# a flow that left hardware, it clears the connection's OFFLOAD bit each time
# (flow_offload_teardown, net/netfilter/nf_flow_table_core.c), also when the level below has
# taken the connection meanwhile: its packets would pass there, but nobody could see that.
SETTLE = 2.5
REPORT_UNCHANGED = 5.0

log = logging.getLogger(__name__)

Endpoints = tuple[str, int, str, int]
Levels = tuple[tuple[str, Level], ...]


class Drain:
    """One drain, from the first look to the last."""

    def __init__(
        self,
        machine: Machine,
        progress: Callable[[DrainProgress], None],
        held: Levels,
        is_bound: Callable[[], Awaitable[bool]],
        former: Drain | None = None,
    ) -> None:
        """`held` are the devices' levels meanwhile; `is_bound`: there still is a hardware table.

        `former` is an attempt that did not come to its end.
        """
        self._machine = machine
        self._now = machine.clock.now
        self._progress = progress
        self._held = held
        self._is_bound = is_bound
        self._started = self._now()
        self._engine = _EngineView(machine, former.awaited if former else set())
        self._reported: DrainProgress | None = None
        self._empty_since: float | None = None
        self._seen = False
        self._complained = False

    @property
    def awaited(self) -> set[Endpoints]:
        """Whose entries of the engine it waits for."""
        return self._engine.ours

    async def finish(self, deadline: float) -> bool:
        """True when hardware is proven empty, False when it is not by this time.

        Where nothing can be seen nothing is proven, but flows leave all the same.
        """
        while True:
            now = self._now()
            try:
                # A driver may never come back from a look at its table.
                async with asyncio.timeout(max(LEAST_SECONDS, deadline - now)):
                    empty = await self._is_empty(now)
            except TimeoutError:
                self._complain(now, OSError("a look at it does not come back"))
            except (OSError, MalformedMessage) as error:
                self._complain(now, error)
            else:
                if empty:
                    self._engine.report_foreign()
                    return True
            now = self._now()
            if now >= deadline:
                return False
            await asyncio.sleep(min(self._pause(now), deadline - now))

    async def _is_empty(self, now: float) -> bool:
        if not await self._is_bound():
            return True  # Of a table that somebody took away nobody will ever say more.
        count, flows = await look(self._machine, IN_HARDWARE, TUPLES_SHOWN)
        stuck = await self._engine.look(now, count)
        self._report(now, count, flows, stuck)
        if count or stuck:
            self._empty_since = None
            self._seen = True
            return False
        return await self._is_settled(now)

    def _complain(self, now: float, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            log.warning("the drain cannot be watched: %s", error)
            self._progress(DrainProgress(now, None, None, (), self._held))

    async def remaining(self) -> tuple[FlowTuple, ...]:
        """The flows in hardware now, and those of which only the engine still knows."""
        _, flows = await look(self._machine, IN_HARDWARE, TUPLES_RETURNED)
        tracked = tuple(flow.original for flow in flows)
        return tracked or await self._engine.look(self._now(), 0)

    async def _is_settled(self, now: float) -> bool:
        if not self._seen and not (await look(self._machine, OFFLOADED, 0))[0]:
            return True
        self._empty_since = now if self._empty_since is None else self._empty_since
        # What the engine holds was looked at since then as well.
        return now - self._empty_since >= SETTLE and self._engine.looked >= self._empty_since

    def _pause(self, now: float) -> float:
        age = now - self._started
        return next((pause for limit, pause in PAUSES if age < limit), LONGEST_PAUSE)

    def _report(
        self, now: float, count: int, flows: list[Flow], stuck: tuple[FlowTuple, ...]
    ) -> None:
        shown = [flow.original for flow in flows] or stuck[:TUPLES_SHOWN]
        report = DrainProgress(now, count, len(stuck), tuple(map(str, shown)), self._held)
        last = self._reported
        changed = last is None or (last.flows, last.engine_entries) != (count, len(stuck))
        if last is None or changed or now - last.time >= REPORT_UNCHANGED:
            self._reported = report
            self._progress(report)


class _EngineView:
    """The engine's entries of the flows that were in hardware during this drain.

    An engine can have other users (a Wi-Fi offload, a bridge offload) and entries that
    somebody stranded earlier; waiting for those would be waiting for ever.
    """

    def __init__(self, machine: Machine, ours: set[Endpoints]) -> None:
        self.looked = 0.0
        self.ours = ours
        self._machine = machine
        self._started = machine.clock.now()
        self._next = self._started
        self._remaining: tuple[FlowTuple, ...] = ()
        self._foreign = 0

    async def look(self, now: float, flows: int) -> tuple[FlowTuple, ...]:
        """What of ours the engine still holds, as read within the last second or so."""
        if now < self._next:
            return self._remaining
        self.looked = now
        if not self._machine.engines.are_readable():
            return ()
        bound: list[FlowTuple] = []
        async with aclosing(self._machine.engines.sweep(only_bound=True)) as chunks:
            async for chunk in chunks:
                bound += [entry.flow for entry in chunk if entry.bound]
        if now - self._started <= LATE_FLOWS:
            await self._learn(flows + len(bound))
        self._remaining = tuple(flow for flow in bound if _endpoints(flow) in self.ours)
        self._foreign = len(bound) - len(self._remaining)
        ended = self._machine.clock.now()
        self._next = ended + max(ENGINE_PAUSE, ENGINE_SHARE * (ended - now))
        return self._remaining

    async def _learn(self, most: int) -> None:
        _, flows = await look(self._machine, IN_HARDWARE, most)
        for flow in flows:
            self.ours.update((_endpoints(flow.original), _endpoints(flow.reply)))

    def report_foreign(self) -> None:
        if self._foreign:
            log.info("the engine holds %d entries of others; they were left alone", self._foreign)


def _endpoints(flow: FlowTuple) -> Endpoints:
    return flow.source, flow.source_port, flow.destination, flow.destination_port


async def look(machine: Machine, wanted: Filter, most: int) -> tuple[int, list[Flow]]:
    """How many connections match, and the first of them; raises OSError."""
    for _ in range(ATTEMPTS):
        count = 0
        flows: list[Flow] = []
        try:
            async with aclosing(machine.connections.sweep(wanted)) as batches:
                async for batch in batches:
                    count += len(batch)
                    flows += [entry.flow() for entry in batch[: most - len(flows)]]
        except DumpInterrupted:
            await asyncio.sleep(PAUSES[0][1])
            continue
        return count, flows
    raise OSError(errno.EAGAIN, "the connection table changes faster than it can be read")
