# SPDX-License-Identifier: GPL-2.0-or-later
"""Compares the engine's table with connection tracking: orphans and half-bound flows.

An engine has other users (Wi-Fi offload, bridges), so only entries of connections that were
seen in hardware at an earlier look are judged. Whenever the tables are built anew all of
them are forgotten: that strands entries in the engine through no fault of the driver.

An *orphan* is bound although the connection is gone from connection tracking. The engine
unbinds an entry without traffic by itself (MediaTek: TCP after 7 s, UDP after 12 s), so one
that is still there after 30 s either forwards what connection tracking has forgotten, or
will never go.

A *half-bound* flow has one direction in the engine only. By itself that is normal: MediaTek
binds a direction above some 30 packets a second, and some kernels (Debian's 6.1) offload
just one. It is evidence only of TCP, and only while
- the bound direction goes on faster than the engine's ageing, look after look, so that
  neither a retransmitting sender nor keep-alives count, whose peer may well have vanished;
- the other one is silent in connection tracking. TCP cannot go on without acknowledgements,
  UDP can; what is merely slow or forwarded by the CPU is not silent;
- other flows of this engine are bound in both directions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing

from flowguard.core.events import EngineSeen, Event
from flowguard.core.model import FlowTuple
from flowguard.core.records import mutable
from flowguard.core.tables.description import Plan
from flowguard.kernel.conntrack import IN_HARDWARE, TCP, DumpInterrupted, Entry, Filter
from flowguard.kernel.machine import Connections, Engines, Machine
from flowguard.sensors.beat import until_beat
from flowguard.sensors.flow_counts import NOTHING, POLL_SECONDS

ORPHAN_SECONDS = 30.0
HALF_BOUND_SECONDS = 60.0
AGEING = 7.0  # MTK_FOE_BIND ageing of TCP, mtk_ppe_start()
WHOLE_FLOWS = 3
SHOWN = 20
# Evidence takes a few flows, and each one that is watched costs a kilobyte.
WATCHED = 2000
# The next look comes so much later for each entry or connection that was read, in seconds:
# a full engine of 16384 takes a slow router some 2 s, and then 80 s pass.
PAUSE_PER_ENTRY = 0.005
PAUSE_PER_CONNECTION = 0.001
ENGINE_RECHECK = 600.0

Endpoints = tuple[str, int, str, int]
# A zone of connection tracking, and one direction in it.
_Identity = tuple[int, bytes]


class EngineTableSensor:
    """Looks while there are tables, as often as EngineWatch finds it due.

    `plan` and `epoch` give what the kernel holds at the moment, and `shut` says why nobody may
    look. `detail` is for the status: why there is nothing to look into, which is no fault; else
    "".
    """

    name = "engine"
    patience: float | None = 120.0

    def __init__(
        self,
        machine: Machine,
        feed: Callable[[Event], None],
        plan: Callable[[], Plan],
        epoch: Callable[[], int],
        shut: Callable[[], str] = lambda: "",
    ) -> None:
        self._now = machine.clock.now
        self._feed = feed
        self._plan = plan
        self._epoch = epoch
        self._shut = shut
        self._blind = ""
        self._watch = EngineWatch(machine.connections, machine.engines)

    @property
    def detail(self) -> str:
        if why := self._shut():
            return (
                f"not available: reading it has crashed this kernel: {why};"
                " `flowguard forget` tries again"
            )
        return self._blind

    def bound(self, entry: Entry) -> tuple[bool, bool] | None:
        """See `EngineWatch.bound`."""
        return self._watch.bound(entry)

    @property
    def missing(self) -> int:
        """See `EngineWatch.missing`."""
        return self._watch.missing

    async def run(self, alive: Callable[[], None]) -> None:
        while True:
            if self._plan() == NOTHING or await self._look():
                alive()
            await asyncio.sleep(until_beat(POLL_SECONDS))

    async def _look(self) -> bool:
        """Whether it could see as much as there is to be seen."""
        try:
            seen = await self._watch.look(self._now(), self._epoch())
        except DumpInterrupted:
            return False  # The next one will do.
        self._blind = "" if self._watch.available else "not available: no engine to look into"
        if seen and (seen.orphan_count or seen.half_bound_count):
            self._feed(seen)
        return True


@mutable
class _Watched:
    """A connection that was in hardware; pairs are its original and its reply direction."""

    entry: Entry
    endpoints: tuple[Endpoints, Endpoints]
    in_hardware: bool = True
    bound: tuple[bool, bool] = (False, False)
    gone_since: float | None = None
    half_since: float | None = None
    half: tuple[bool, bool] = (False, False)
    half_packets: tuple[int, int] = (0, 0)

    @property
    def packets(self) -> tuple[int, int]:
        return self.entry.original_packets, self.entry.reply_packets

    def __str__(self) -> str:
        return str(self.entry.flow().original)


class EngineWatch:
    """Remembers what was in hardware, because an orphan is known only by what it was.

    `missing` are the connections that the driver has accepted and of which the engine had
    neither direction at the last look: packets of these go by software.
    """

    def __init__(self, connections: Connections, engines: Engines) -> None:
        self.available = False
        self.missing = 0
        self._connections = connections
        self._engines = engines
        self._checked: float | None = None
        self._epoch: int | None = None
        self._watched: dict[_Identity, _Watched] = {}
        self._looked = 0.0
        self._next = 0.0

    def bound(self, entry: Entry) -> tuple[bool, bool] | None:
        """Which directions of a connection in hardware the engine had at the last look.

        None where that is not known.
        """
        watched = self._watched.get(_identity(entry))
        return watched.bound if watched else None

    async def look(self, time: float, epoch: int) -> EngineSeen | None:
        """Compare now; `epoch` changes with each change of the tables.

        None while there is no engine that can be read and while a look is not due yet.
        Raises OSError, MalformedMessage, and DumpInterrupted when the connection table changed
        too fast to be read: then there was no look.
        """
        if epoch != self._epoch:
            self._epoch, self._watched, self.missing = epoch, {}, 0
        if not self._is_available(time) or time < self._next:
            return None
        pause = await self._read(time)
        self.missing = sum(w.in_hardware and not any(w.bound) for w in self._watched.values())
        half_bound = self._half_bound(time)
        orphans = [w for w in self._watched.values() if _is_orphan(w, time)]
        self._looked, self._next = time, time + pause
        return EngineSeen(
            time,
            orphans=tuple(map(str, orphans[:SHOWN])),
            orphan_count=len(orphans),
            half_bound=tuple(map(str, half_bound[:SHOWN])),
            half_bound_count=len(half_bound),
        )

    def _is_available(self, time: float) -> bool:
        if self.available or self._checked is None or time - self._checked >= ENGINE_RECHECK:
            self._checked = time
            self.available = self._engines.are_readable()
        return self.available

    async def _read(self, time: float) -> float:
        """All three tables, as far as needed; how long a pause that makes necessary."""
        connections = await self._read_hardware_flows()
        entries = await self._read_engine() if self._watched else 0
        left = [w for w in self._watched.values() if not w.in_hardware]
        for watched in left:
            if not any(watched.bound):
                del self._watched[_identity(watched.entry)]
        if missing := [w for w in left if any(w.bound)]:
            connections += await self._find(missing, time)
        return entries * PAUSE_PER_ENTRY + connections * PAUSE_PER_CONNECTION

    async def _read_hardware_flows(self) -> int:
        read = 0
        for watched in self._watched.values():
            watched.in_hardware = False
        async with aclosing(self._connections.sweep(IN_HARDWARE)) as batches:
            async for batch in batches:
                read += len(batch)
                for entry in batch:
                    self._keep(entry)
        return read

    def _keep(self, entry: Entry) -> None:
        known = self._watched.get(_identity(entry))
        if known:
            known.entry, known.in_hardware, known.gone_since = entry, True, None
        elif len(self._watched) < WATCHED:
            flow = entry.flow()
            ends = (_endpoints(flow.original), _endpoints(flow.reply))
            self._watched[_identity(entry)] = _Watched(entry, ends)

    async def _read_engine(self) -> int:
        read = 0
        wanted = {ends for w in self._watched.values() for ends in w.endpoints}
        bound: set[Endpoints] = set()
        async with aclosing(self._engines.sweep(only_bound=True)) as chunks:
            async for chunk in chunks:
                read += len(chunk)
                found = {_endpoints(entry.flow) for entry in chunk if entry.bound}
                bound |= found & wanted
        for watched in self._watched.values():
            original, reply = watched.endpoints
            watched.bound = original in bound, reply in bound
        return read

    async def _find(self, missing: Iterable[_Watched], time: float) -> int:
        """Whether connection tracking still knows these, in whatever state or direction."""
        wanted = {key for w in missing for key in _both_ways(w.entry)}
        tracked: set[_Identity] = set()
        read = 0
        async with aclosing(self._connections.sweep(Filter())) as batches:
            async for batch in batches:
                read += len(batch)
                tracked |= wanted & {key for entry in batch for key in _both_ways(entry)}
        for watched in missing:
            if not tracked.isdisjoint(_both_ways(watched.entry)):
                watched.gone_since = None
            elif watched.gone_since is None:
                watched.gone_since = time
        return read

    def _half_bound(self, time: float) -> list[_Watched]:
        whole = sum(w.in_hardware and all(w.bound) for w in self._watched.values())
        for watched in self._watched.values():
            _follow_half(watched, time, self._looked)
        if whole < WHOLE_FLOWS:
            return []
        return [w for w in self._watched.values() if _is_half_bound(w, time)]


def _follow_half(watched: _Watched, time: float, looked: float) -> None:
    """Note since when the flow has been half-bound and stalled without a break."""
    if not _goes_one_way(watched, time - looked):
        # From here on it may begin.
        watched.half_since = time
        watched.half = watched.bound
    watched.half_packets = watched.packets


def _goes_one_way(watched: _Watched, elapsed: float) -> bool:
    """Whether since the last look only the one bound direction went on, and briskly."""
    if watched.half_since is None or watched.bound != watched.half or not watched.in_hardware:
        return False
    if sum(watched.bound) != 1:
        return False
    pairs = zip(watched.packets, watched.half_packets, strict=True)
    original, reply = (now - before for now, before in pairs)
    going, silent = (original, reply) if watched.bound[0] else (reply, original)
    return silent == 0 and going * AGEING > elapsed


def _is_half_bound(watched: _Watched, time: float) -> bool:
    is_tcp = watched.entry.protocol == TCP
    since = watched.half_since
    return is_tcp and since is not None and time - since >= HALF_BOUND_SECONDS


def _is_orphan(watched: _Watched, time: float) -> bool:
    return watched.gone_since is not None and time - watched.gone_since >= ORPHAN_SECONDS


def _endpoints(flow: FlowTuple) -> Endpoints:
    return flow.source, flow.source_port, flow.destination, flow.destination_port


def _identity(entry: Entry) -> _Identity:
    return entry.zone, entry.key


def _both_ways(entry: Entry) -> tuple[_Identity, _Identity]:
    return (entry.zone, entry.key), (entry.zone, entry.reply_key)
