# SPDX-License-Identifier: GPL-2.0-or-later
"""Orphans and half-bound flows, over an engine and a connection table that the test writes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable

import pytest

from flowguard.core.events import EngineSeen, Event
from flowguard.core.model import Device, FlowTuple, Level
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel import conntrack
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, DumpInterrupted, Entry, Filter
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.kernel.engines import EngineEntry
from flowguard.sensors import engine_table
from flowguard.sensors.engine_table import EngineTableSensor, EngineWatch
from flowguard.sensors.flow_counts import NOTHING, POLL_SECONDS
from tests import virtual_time
from tests.sensors.machine import Parts
from tests.virtual_time import now

IN_HARDWARE = OFFLOAD | HW_OFFLOAD
CLIENT, SERVER, ROUTER = "192.168.1.20", "203.0.113.9", "198.51.100.7"
EPOCH = 1
BOTH = (True, True)
TCP, UDP = 6, 17
TABLES = plan([Device("lan1", 1)], {"lan1": Level.HARDWARE}, OffloadSettings())


class Router:
    """A router's connection table and engine, and a watch over both."""

    def __init__(self) -> None:
        self.parts = Parts()
        self.connections: dict[int, Entry] = {}
        self.engines = self.parts.engines
        self.plan = TABLES
        self.seen: list[Event] = []
        self.alive: list[float] = []
        self._bound: dict[int, tuple[bool, bool]] = {}
        self.watch = EngineWatch(self.parts.connections, self.engines)
        self.sensor = EngineTableSensor(
            self.parts.machine, self.seen.append, lambda: self.plan, lambda: EPOCH
        )

    @property
    def sweeps(self) -> list[Filter]:
        return self.parts.connections.sweeps

    def connect(self, *ports: int, status: int = IN_HARDWARE, protocol: int = TCP) -> None:
        for port in ports:
            self.connections[port] = connection(port, status, protocol)

    def forget(self, *ports: int) -> None:
        for port in ports:
            del self.connections[port]

    def carry(self, port: int, original: int, reply: int) -> None:
        """Packets of each direction, as connection tracking counts them."""
        known = self.connections[port]
        self.connections[port] = known._replace(
            original_packets=known.original_packets + original,
            reply_packets=known.reply_packets + reply,
        )

    def bind(self, *ports: int, directions: tuple[bool, bool] = BOTH) -> None:
        self._bound.update(dict.fromkeys(ports, directions))
        self.engines.entries = [
            EngineEntry(one, None, True, None)
            for port, bound in self._bound.items()
            for one, is_bound in zip(directions_of(port), bound, strict=True)
            if is_bound
        ]

    def unbind(self, *ports: int) -> None:
        self.bind(*ports, directions=(False, False))

    def look(self, time: float, epoch: int = EPOCH) -> EngineSeen | None:
        self.parts.connections.entries = list(self.connections.values())
        return asyncio.run(self.watch.look(time, epoch))

    def counts(self, time: float, epoch: int = EPOCH) -> tuple[int, int]:
        """Orphans and half-bound flows that a look sees."""
        seen = self.look(time, epoch)
        assert seen and seen.time == time
        return seen.orphan_count, seen.half_bound_count

    def run(self, *turns: Callable[[], None]) -> None:
        """Let the sensor look, with the next turn taken before each look but the first."""

        async def main() -> None:
            task = asyncio.create_task(self.sensor.run(lambda: self.alive.append(now())))
            for turn in turns:
                await asyncio.wait([task], timeout=POLL_SECONDS / 2)
                turn()
                self.parts.connections.entries = list(self.connections.values())
                await asyncio.wait([task], timeout=POLL_SECONDS / 2)
            await asyncio.wait([task], timeout=1)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error

        self.parts.connections.entries = list(self.connections.values())
        virtual_time.run(main())


def directions_of(port: int) -> tuple[FlowTuple, FlowTuple]:
    return (
        FlowTuple("tcp", CLIENT, SERVER, port, 443),
        FlowTuple("tcp", SERVER, ROUTER, 443, port),
    )


def connection(port: int, status: int, protocol: int) -> Entry:
    name = {TCP: "tcp", UDP: "udp"}[protocol]
    original, reply = directions_of(port)
    keys = [
        encode_tuple(1, FlowTuple(name, t.source, t.destination, t.source_port, t.destination_port))
        for t in (original, reply)
    ]
    key, reply_key = (attribute[4:] for _, attribute in keys)
    return Entry(port, status, 0, protocol, 0, 0, 0, 0, True, None, None, key, reply_key)


@pytest.fixture
def router() -> Router:
    return Router()


# --- whether there is anything to see ------------------------------------------------------


def test_without_an_engine_nothing_is_read_and_it_is_looked_for_rarely(router: Router) -> None:
    router.connect(1)
    assert router.look(0) is None and not router.watch.available
    router.bind(1)
    assert router.look(engine_table.ENGINE_RECHECK - 1) is None
    assert not router.sweeps
    assert router.counts(engine_table.ENGINE_RECHECK) == (0, 0)
    assert router.watch.available


def test_with_nothing_in_hardware_the_engine_is_not_read(router: Router) -> None:
    router.connect(1, status=OFFLOAD)
    router.bind(1)
    assert router.counts(0) == (0, 0)
    assert router.engines.sweeps == 0


def test_an_engine_that_refuses_to_be_read_is_an_error(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.engines.failure = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input/output"):
        router.look(0)


def test_the_more_there_is_to_read_the_rarer_the_looks(router: Router) -> None:
    ports = range(1, 5001)
    router.connect(*ports)
    router.bind(*ports)
    assert router.counts(0) == (0, 0)
    assert router.look(10) is None
    assert router.counts(60) == (0, 0)


# --- orphans ---------------------------------------------------------------------------------


def test_bound_entries_whose_connections_are_gone_are_orphans(router: Router) -> None:
    router.connect(1, 2, 3, 4)
    router.bind(1, 2, 3, 4)
    assert router.counts(0) == (0, 0)
    router.forget(1, 2, 3)
    assert [router.counts(time)[0] for time in (10, 20, 39, 40, 50)] == [0, 0, 0, 3, 3]
    seen = router.look(60)
    assert seen and seen.orphans[0] == f"tcp {CLIENT}:1 -> {SERVER}:443"


def test_two_looks_that_far_apart_suffice_but_not_one(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.look(0)
    router.forget(1)
    assert router.counts(100)[0] == 0
    assert router.counts(130)[0] == 1


def test_one_direction_that_stays_is_an_orphan(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.look(0)
    router.forget(1)
    router.bind(1, directions=(False, True))
    router.look(10)
    assert router.counts(40)[0] == 1


def test_entries_that_leave_in_time_are_no_orphans(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.look(0)
    router.forget(1)
    router.look(10)
    router.unbind(1)
    assert router.counts(35)[0] == 0
    router.bind(1)
    assert router.counts(100)[0] == 0


@pytest.mark.parametrize("status", [0, OFFLOAD])
def test_what_connection_tracking_knows_in_any_status_is_no_orphan(
    router: Router, status: int
) -> None:
    router.connect(1)
    router.bind(1)
    router.look(0)
    router.connect(1, status=status)
    assert [router.counts(time)[0] for time in (10, 50, 90)] == [0, 0, 0]


def test_a_connection_that_was_opened_from_the_other_side_is_known(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.look(0)
    known = router.connections.pop(1)
    other = connection(2, 0, TCP)
    router.connections[2] = other._replace(key=known.reply_key)
    assert [router.counts(time)[0] for time in (10, 50, 90)] == [0, 0, 0]


def test_a_connection_that_comes_back_starts_anew(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.look(0)
    router.forget(1)
    router.look(10)
    router.connect(1, status=0)
    router.look(35)
    router.forget(1)
    assert [router.counts(time)[0] for time in (45, 74, 75)] == [0, 0, 1]


def test_what_the_driver_accepted_and_the_engine_does_not_have_is_missing(router: Router) -> None:
    router.connect(1, 2, 3)
    router.bind(1)
    router.bind(2, directions=(True, False))
    router.look(0.0)
    assert router.watch.missing == 1
    bound = [router.watch.bound(router.connections[port]) for port in (1, 2, 3)]
    assert bound == [BOTH, (True, False), (False, False)]
    assert router.watch.bound(connection(4, IN_HARDWARE, TCP)) is None
    router.bind(3)
    router.look(1000.0)
    assert router.watch.missing == 0
    router.unbind(1, 2)
    router.look(2000.0)
    assert router.watch.missing == 2
    router.forget(1)
    router.look(3000.0)
    assert router.watch.missing == 1
    router.look(4000.0, epoch=EPOCH + 1)
    router.forget(2)
    router.look(5000.0, epoch=EPOCH + 1)
    assert router.watch.missing == 0


def test_entries_of_other_users_are_not_ours(router: Router) -> None:
    router.connect(1)
    router.connect(2, status=0)
    router.bind(1, 2, 3)
    router.look(0)
    router.forget(2)
    assert [router.counts(time)[0] for time in (10, 50, 90)] == [0, 0, 0]


def test_a_change_of_the_tables_strands_entries_that_are_not_held_against_the_driver(
    router: Router,
) -> None:
    router.connect(1)
    router.bind(1)
    router.look(0)
    router.forget(1)
    router.look(10)
    assert router.counts(50)[0] == 1
    assert [router.counts(time, EPOCH + 1)[0] for time in (60, 100, 140)] == [0, 0, 0]


def test_a_dump_that_was_interrupted_proves_nothing(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.look(0)
    router.parts.connections.interrupt(2)
    for time in (10, 50):
        with pytest.raises(DumpInterrupted):
            router.look(time)
    assert [router.counts(time)[0] for time in (60, 100)] == [0, 0]


def test_the_whole_table_is_read_only_on_suspicion(router: Router) -> None:
    router.connect(1, 2)
    router.bind(1, 2)
    router.look(0)
    router.look(10)
    assert set(router.sweeps) == {conntrack.IN_HARDWARE}
    router.forget(1)
    router.look(20)
    assert router.sweeps[-1] == Filter()


def test_more_orphans_than_are_shown_are_counted(router: Router) -> None:
    router.connect(*range(1, 51))
    router.bind(*range(1, 51))
    router.look(0)
    router.connections.clear()
    router.look(10)
    seen = router.look(40)
    assert seen and seen.orphan_count == 50 and len(seen.orphans) == engine_table.SHOWN


# --- half-bound flows --------------------------------------------------------------------------

WHOLE = (11, 12, 13)
ORIGINAL_ONLY, REPLY_ONLY = (True, False), (False, True)


def half_bound(
    router: Router,
    carried: tuple[int, int] = (50, 0),
    directions: tuple[bool, bool] = ORIGINAL_ONLY,
    protocol: int = TCP,
    whole: tuple[int, ...] = WHOLE,
) -> list[int]:
    """The half-bound flows seen every 10 seconds for 80 s, of one that is."""
    router.connect(1, protocol=protocol)
    router.connect(*whole)
    router.bind(1, directions=directions)
    router.bind(*whole)
    counts = []
    for time in range(0, 90, 10):
        counts.append(router.counts(time)[1])
        router.carry(1, *carried)
    return counts


def test_a_stalled_half_bound_flow_is_seen_after_a_minute(router: Router) -> None:
    assert half_bound(router) == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    seen = router.look(90)
    assert seen and seen.half_bound == (f"tcp {CLIENT}:1 -> {SERVER}:443",)
    assert seen.orphan_count == 0


def test_the_reply_direction_counts_as_well(router: Router) -> None:
    assert half_bound(router, carried=(0, 50), directions=REPLY_ONLY)[-1] == 1


@pytest.mark.parametrize(
    ("carried", "directions", "protocol", "whole"),
    [
        ((50, 1), ORIGINAL_ONLY, TCP, WHOLE),
        ((0, 50), ORIGINAL_ONLY, TCP, WHOLE),
        ((0, 0), ORIGINAL_ONLY, TCP, WHOLE),
        ((1, 0), ORIGINAL_ONLY, TCP, WHOLE),
        ((50, 0), BOTH, TCP, WHOLE),
        ((50, 0), (False, False), TCP, WHOLE),
        ((50, 0), ORIGINAL_ONLY, UDP, WHOLE),
        ((50, 0), ORIGINAL_ONLY, TCP, WHOLE[:2]),
    ],
    ids=[
        "the other direction is merely slow",
        "the CPU carries the other direction",
        "idle",
        "retransmissions to a peer that vanished",
        "both bound",
        "none bound",
        "one-way datagrams",
        "a kernel that offloads one direction",
    ],
)
def test_what_is_normal_is_not_half_bound(
    router: Router,
    carried: tuple[int, int],
    directions: tuple[bool, bool],
    protocol: int,
    whole: tuple[int, ...],
) -> None:
    assert half_bound(router, carried, directions, protocol, whole) == [0] * 9


def test_a_pause_starts_the_minute_anew(router: Router) -> None:
    half_bound(router)
    router.carry(1, 0, 5)
    counts = []
    for time in range(90, 170, 10):
        counts.append(router.counts(time)[1])
        router.carry(1, 50, 0)
    assert counts == [0, 0, 0, 0, 0, 0, 1, 1]


# --- the sensor --------------------------------------------------------------------------------


def idle() -> None:
    pass


def test_orphans_are_fed_and_a_sound_table_is_not(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.run(idle, lambda: router.forget(1), idle, idle, idle)
    (event,) = router.seen
    assert isinstance(event, EngineSeen)
    assert (event.time, event.orphan_count) == (50, 1)
    assert router.alive == [0, 10, 20, 30, 40, 50]


def test_half_bound_flows_are_fed(router: Router) -> None:
    router.connect(1, *WHOLE)
    router.bind(1, directions=ORIGINAL_ONLY)
    router.bind(*WHOLE)
    router.run(*[lambda: router.carry(1, 50, 0)] * 6)
    assert [event.half_bound_count for event in router.seen if isinstance(event, EngineSeen)] == [1]


def test_without_an_engine_it_is_well_and_says_that_there_is_none(router: Router) -> None:
    router.connect(1)
    router.run(idle, idle)
    assert router.alive == [0, 10, 20]
    assert router.sensor.detail == "not available: no engine to look into"
    router.bind(1)
    router.run(*[idle] * round(engine_table.ENGINE_RECHECK / POLL_SECONDS))
    assert router.sensor.detail == ""


def test_without_tables_there_is_nothing_to_compare(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.plan = NOTHING
    router.run(idle)
    assert router.alive == [0, 10]
    assert router.sweeps == []


def test_an_interrupted_walk_is_no_sign_of_life_but_no_end_either(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.parts.connections.interrupt(2)
    router.run(idle, idle)
    assert router.alive == [20]


def test_an_engine_that_cannot_be_read_ends_it_so_that_it_is_seen(router: Router) -> None:
    router.connect(1)
    router.bind(1)
    router.engines.failure = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input/output"):
        router.run()
    assert router.alive == []
