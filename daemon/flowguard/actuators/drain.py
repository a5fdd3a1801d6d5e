# SPDX-License-Identifier: GPL-2.0-or-later
"""Waits until nothing is left in hardware: no flow, no entry of the engine.

Precondition: the hardware table takes no new flows and the flow timeouts are 0, so that
every flow leaves within the former timeout while the driver is still bound and told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from flowguard.core.events import DrainProgress
from flowguard.core.model import FlowTuple
from flowguard.kernel import conntrack, engines
from flowguard.kernel.clock import monotonic

TUPLES_SHOWN = 20
TUPLES_RETURNED = 1000
# A look costs a walk over the connection table, so a long drain is watched less closely.
PAUSES = ((10.0, 0.25), (60.0, 1.0))
LONGEST_PAUSE = 5.0
ENGINE_PAUSE = 1.0
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


class Drain:
    """One drain, from the first look to the last."""

    def __init__(self, bound: Callable[[], bool], progress: Callable[[DrainProgress], None]):
        """`bound` says whether there still is a hardware flowtable to drain."""
        self._bound = bound
        self._progress = progress
        self._started = monotonic()
        self._engine = _EngineView()
        self._reported: DrainProgress | None = None
        self._empty_since: float | None = None
        self._seen = False

    async def finish(self) -> None:
        """Return when hardware is proven empty, or gone; never with a driver that forgets."""
        while self._bound():
            look = await conntrack.look(conntrack.IN_HARDWARE, TUPLES_SHOWN)
            now = monotonic()
            stuck = await self._engine.look(now, look.count)
            self._report(now, look, stuck)
            if not look.count and not stuck and await self._is_settled(now):
                break
            if look.count or stuck:
                self._empty_since = None
                self._seen = True
            await asyncio.sleep(self._pause(now))
        self._engine.report_foreign()

    async def remaining(self) -> tuple[FlowTuple, ...]:
        """The flows in hardware now, and those of which only the engine still knows."""
        look = await conntrack.look(conntrack.IN_HARDWARE, TUPLES_RETURNED)
        tracked = tuple(flow.original for flow in look.flows)
        return tracked or await self._engine.look(monotonic(), 0)

    async def _is_settled(self, now: float) -> bool:
        if not self._seen and not await conntrack.count(conntrack.OFFLOADED):
            return True
        self._empty_since = now if self._empty_since is None else self._empty_since
        return now - self._empty_since >= SETTLE

    def _pause(self, now: float) -> float:
        age = now - self._started
        return next((pause for limit, pause in PAUSES if age < limit), LONGEST_PAUSE)

    def _report(self, now: float, look: conntrack.Look, stuck: tuple[FlowTuple, ...]) -> None:
        shown = [flow.original for flow in look.flows] or stuck[:TUPLES_SHOWN]
        report = DrainProgress(now, look.count, len(stuck), tuple(map(str, shown)))
        last = self._reported
        changed = last is None or (last.flows, last.engine_entries) != (look.count, len(stuck))
        if last is None or changed or now - last.time >= REPORT_UNCHANGED:
            self._reported = report
            self._progress(report)


class _EngineView:
    """The engine's entries of the flows that were in hardware during this drain.

    An engine can have other users (a Wi-Fi offload, a bridge offload) and entries that
    somebody stranded earlier; waiting for those would be waiting for ever.
    """

    def __init__(self) -> None:
        self._ours: set[Endpoints] = set()
        self._started = monotonic()
        self._looked: float | None = None
        self._remaining: tuple[FlowTuple, ...] = ()
        self._foreign = 0

    async def look(self, now: float, flows: int) -> tuple[FlowTuple, ...]:
        """What of ours the engine still holds; reads it once a second, or to prove the end."""
        if flows and self._looked is not None and now - self._looked < ENGINE_PAUSE:
            return self._remaining
        self._looked = now
        bound = engines.bound_flows()
        if bound is None:
            return ()
        if now - self._started <= LATE_FLOWS:
            everything = await conntrack.look(conntrack.IN_HARDWARE, flows + len(bound))
            self._ours.update(
                _endpoints(direction)
                for flow in everything.flows
                for direction in (flow.original, flow.reply)
            )
        self._remaining = tuple(flow for flow in bound if _endpoints(flow) in self._ours)
        self._foreign = len(bound) - len(self._remaining)
        return self._remaining

    def report_foreign(self) -> None:
        if self._foreign:
            log.info("the engine holds %d entries of others; they were left alone", self._foreign)


def _endpoints(flow: FlowTuple) -> Endpoints:
    return flow.source, flow.source_port, flow.destination, flow.destination_port
