# SPDX-License-Identifier: GPL-2.0-or-later
"""Which flows are counted and which count as refused, over a connection table in memory."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest

from flowguard.core.events import Event, FlowsSeen
from flowguard.core.model import Device, FlowTuple, Level
from flowguard.core.records import replace
from flowguard.core.tables.description import Plan
from flowguard.core.tables.plan import Exclusion, OffloadSettings, plan
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.sensors.arms.drawing import Drawing
from flowguard.sensors.byte_counts import ByteCounts
from flowguard.sensors.flow_counts import (
    ATTEMPTS,
    COUNTING,
    NOTHING,
    POLL_SECONDS,
    SUSPECTS,
    FlowCounter,
    FlowCountsSensor,
    counters_problem,
)
from tests import virtual_time
from tests.sensors.machine import ConnectionTable, Parts, Switches
from tests.virtual_time import now

SETTINGS = OffloadSettings()
IN_HARDWARE = OFFLOAD | HW_OFFLOAD


class Table(ConnectionTable):
    """Made of the status of each flow; all are treated but those of `control`."""

    def hold(self, flows: dict[int, int], control: dict[int, int] | None = None) -> None:
        self.entries = [entry(number, status) for number, status in flows.items()]
        for number, status in (control or {}).items():
            self.entries.append(entry(number, status, control=True))


def entry(number: int, status: int, *, control: bool = False) -> Entry:
    drawing = Drawing(ALL_HARDWARE.hardware)
    for port in count(number * 20):
        key = encode_tuple(1, FlowTuple("tcp", "192.0.2.1", "192.0.2.2", port, 443))[1][4:]
        made = Entry(number, status, 0, 6, 0, 0, 0, 0, True, None, None, key, key)
        if drawing.is_control(drawing.hash_of(made)) is control:
            return made
    raise AssertionError


def devices_at(lan: Level, wan: Level, settings: OffloadSettings = SETTINGS) -> Plan:
    return plan([Device("lan", 1), Device("wan", 2)], {"lan": lan, "wan": wan}, settings)


ALL_HARDWARE = devices_at(Level.HARDWARE, Level.HARDWARE)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def counter(table: Table) -> FlowCounter:
    return FlowCounter(table)


def look(counter: FlowCounter, time: float, wanted: Plan = ALL_HARDWARE) -> FlowsSeen:
    return asyncio.run(counter.look(time, wanted))


def test_counts_per_place(table: Table, counter: FlowCounter) -> None:
    table.hold({1: IN_HARDWARE, 2: OFFLOAD, 3: OFFLOAD, 4: 0})
    seen = look(counter, 10.0)
    assert (seen.time, seen.hardware, seen.software) == (10.0, 1, 2)


def test_refused_is_what_stays_refused(table: Table, counter: FlowCounter) -> None:
    table.hold({1: OFFLOAD, 2: OFFLOAD})
    assert look(counter, 10.0).refused == 0
    assert look(counter, 11.0).refused == 0
    table.hold({1: OFFLOAD, 2: IN_HARDWARE, 3: OFFLOAD})
    assert look(counter, 12.0).refused == 1
    assert look(counter, 13.0).refused == 1
    table.hold({})
    assert look(counter, 15.0).refused == 0


def test_of_very_many_refused_flows_only_so_many_are_remembered(
    table: Table, counter: FlowCounter
) -> None:
    table.hold(dict.fromkeys(range(2 * SUSPECTS), OFFLOAD))
    look(counter, 10.0)
    seen = look(counter, 20.0)
    assert (seen.software, seen.refused) == (2 * SUSPECTS, SUSPECTS)


def test_control_group_is_not_refused(table: Table, counter: FlowCounter) -> None:
    table.hold({2: OFFLOAD}, control={1: OFFLOAD})
    look(counter, 10.0)
    assert look(counter, 20.0).refused == 1


LAN = Device("lan", 1, forward_names=("br", "lan"), bridges=("br",), bridge_ports=("lan",))
TOP = {"lan": Level.HARDWARE, "wan": Level.HARDWARE, "wg0": Level.SOFTWARE}


def test_in_a_bridge_of_hardware_ports_alone_every_flow_in_software_was_refused(
    table: Table, counter: FlowCounter
) -> None:
    wanted = plan([LAN, Device("wan", 2)], TOP, SETTINGS)
    table.hold({1: OFFLOAD})
    look(counter, 10.0, wanted)
    assert look(counter, 20.0, wanted).refused == 1


@pytest.mark.parametrize(
    "wanted",
    [
        plan([replace(LAN, beside=("ap0",)), Device("wan", 2)], TOP, SETTINGS),
        plan([LAN, Device("wan", 2), Device("wg0", 3)], TOP, SETTINGS),
        devices_at(Level.SOFTWARE, Level.SOFTWARE),
        devices_at(Level.HARDWARE, Level.SOFTWARE),
        devices_at(
            Level.HARDWARE,
            Level.HARDWARE,
            OffloadSettings(exclusions=(Exclusion(level=Level.SOFTWARE),)),
        ),
    ],
    ids=[
        "an access point beside",
        "a tunnel",
        "no hardware",
        "one device below",
        "exclusion to software",
    ],
)
def test_flows_that_belong_below_are_not_refused(
    table: Table, counter: FlowCounter, wanted: Plan
) -> None:
    table.hold({1: OFFLOAD})
    look(counter, 10.0, wanted)
    assert look(counter, 20.0, wanted).refused == 0


def test_one_walk_over_the_table_is_enough(table: Table, counter: FlowCounter) -> None:
    table.hold({1: IN_HARDWARE, 2: OFFLOAD})
    look(counter, 10.0)
    assert len(table.sweeps) == 1


def test_another_connection_on_the_same_ports_is_not_the_one_that_was_refused(
    table: Table, counter: FlowCounter
) -> None:
    table.hold({1: OFFLOAD})
    look(counter, 10.0)
    table.entries = [entry(1, OFFLOAD)._replace(id=77)]
    assert look(counter, 20.0).refused == 0


def test_a_walk_that_is_interrupted_is_begun_again(table: Table, counter: FlowCounter) -> None:
    table.hold(dict.fromkeys(range(300), IN_HARDWARE))
    table.interrupt(ATTEMPTS - 1)
    assert look(counter, 10.0).hardware == 300


def test_a_table_that_changes_too_fast_cannot_be_counted(
    table: Table, counter: FlowCounter
) -> None:
    table.interrupt(ATTEMPTS)
    with pytest.raises(OSError, match="faster than it can be read"):
        look(counter, 10.0)


# --- the sensor ------------------------------------------------------------------------------


@dataclass
class Router:
    """A router whose plan and setting the test changes; `run` watches it for a while."""

    plan: Plan = ALL_HARDWARE
    min_packets: int = 0
    others_look: bool = True
    byte_counts: ByteCounts = field(default_factory=ByteCounts)
    seen: list[FlowsSeen] = field(default_factory=list)
    alive: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = Table()
        self.parts = Parts(connections=self.table)
        self.sensor = FlowCountsSensor(
            self.parts.machine,
            self._take,
            lambda: self.plan,
            lambda: self.min_packets,
            self.byte_counts,
            lambda: self.others_look,
        )

    def run(self, *turns: Callable[[], None]) -> None:
        """Let it look, and after each look take the next turn."""

        async def main() -> None:
            task = asyncio.create_task(self.sensor.run(lambda: self.alive.append(now())))
            for turn in turns:
                await asyncio.wait([task], timeout=POLL_SECONDS / 2)
                turn()
                await asyncio.wait([task], timeout=POLL_SECONDS / 2)
            await asyncio.wait([task], timeout=1)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error

        virtual_time.run(main())

    @property
    def whole_looks(self) -> list[bool]:
        """Of each look, whether it was at all connections."""
        return [wanted.accepts_all for wanted in self.table.sweeps]

    def _take(self, event: Event) -> None:
        assert isinstance(event, FlowsSeen)
        self.seen.append(event)


@pytest.fixture
def router() -> Router:
    return Router()


def idle() -> None:
    pass


def test_it_looks_again_and_again_while_there_are_tables(router: Router) -> None:
    router.table.hold({1: IN_HARDWARE})
    router.run(idle, idle)
    assert [(seen.time, seen.hardware) for seen in router.seen] == [(0, 1), (10, 1), (20, 1)]
    assert router.alive == [0, 10, 20]


def test_where_nobody_else_does_it_looks_at_all_for_their_bytes(router: Router) -> None:
    router.table.hold({1: IN_HARDWARE, 2: 0})
    router.run(idle)
    assert not any(router.whole_looks) and router.byte_counts.totals is None
    router.others_look = False
    router.seen.clear()
    router.run(idle)
    assert router.whole_looks[-1] and router.byte_counts.totals is not None
    assert router.seen[-1].hardware == 1


def test_all_are_looked_at_less_often_where_that_takes_long(router: Router) -> None:
    router.others_look, router.table.seconds = False, 1.0
    router.run(*[idle] * 6)
    assert router.whole_looks == [True, False, True, False, True, False, True]


def test_without_tables_it_looks_until_the_flows_have_gone_and_stays_alive(router: Router) -> None:
    router.table.hold({1: OFFLOAD})
    router.plan = NOTHING
    router.run(idle, lambda: router.table.hold({}), idle, idle)
    assert [seen.software for seen in router.seen] == [1, 1, 0]
    assert len(router.alive) == 5


@pytest.mark.parametrize("error", [OSError(errno.ENOBUFS, "No buffer"), MalformedMessage("odd")])
def test_what_goes_wrong_ends_it_so_that_it_is_seen(router: Router, error: Exception) -> None:
    router.table.failures = [error]
    with pytest.raises(type(error)):
        router.run()
    assert (router.seen, router.alive) == ([], [])


def test_a_table_that_is_never_answered_is_no_sign_of_life(router: Router) -> None:
    router.table.hangs = True
    router.run(*[idle] * 10)
    assert router.alive == []
    assert router.sensor.patience is not None


def test_missing_counters_are_shown_and_logged_once(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    router.parts.sysctls.set(COUNTING, 0)
    router.min_packets = 5

    def mend() -> None:
        assert "nf_conntrack_acct=1" in router.sensor.counters
        router.parts.sysctls.set(COUNTING, 1)

    router.run(idle, mend, idle)
    assert router.sensor.counters == "ok"
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1


class Broken(Switches):
    def get(self, name: str) -> int | None:
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    ("sysctls", "min_packets", "words"),
    [
        (Switches({COUNTING: 1}), 5, ""),
        (Switches({COUNTING: 0}), 0, ""),
        (Broken(), 0, ""),
        (Switches({COUNTING: 0}), 5, "no new flow is ever offloaded"),
        (Switches(), 5, "does not have it"),
        (Broken(), 5, "Input/output error"),
    ],
    ids=["counting", "not needed", "not asked", "off", "missing", "unreadable"],
)
def test_a_minimum_of_packets_needs_counters(
    sysctls: Switches, min_packets: int, words: str
) -> None:
    problem = counters_problem(sysctls, min_packets)
    assert words in problem and bool(problem) == bool(words)
