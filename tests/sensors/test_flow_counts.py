# SPDX-License-Identifier: GPL-2.0-or-later
"""Which flows count as refused, over a connection table that the test writes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from flowguard.core.events import FlowsSeen
from flowguard.core.model import Device, FlowTuple, Level
from flowguard.core.tables.description import Plan
from flowguard.core.tables.plan import Exclusion, OffloadSettings, plan
from flowguard.kernel import conntrack
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Filter, Flow, Look
from flowguard.sensors.flow_counts import FlowCounter

SETTINGS = OffloadSettings()
IN_HARDWARE = OFFLOAD | HW_OFFLOAD


@dataclass(slots=True)
class Table:
    """The kernel's table: status and mark of each flow."""

    flows: dict[int, tuple[int, int]] = field(default_factory=dict)

    async def look(self, wanted: Filter, limit: int) -> Look:
        found = [
            flow(number)
            for number, (status, mark) in self.flows.items()
            if status & wanted.status_mask == wanted.status
            and mark & wanted.mark_mask == wanted.mark
        ]
        return Look(len(found), tuple(found[:limit]))

    async def count(self, wanted: Filter) -> int:
        return (await self.look(wanted, 0)).count


def flow(number: int) -> Flow:
    one = FlowTuple("tcp", "192.0.2.1", "192.0.2.2", number, 443)
    return Flow(one, one)


def devices_at(lan: Level, wan: Level, settings: OffloadSettings = SETTINGS) -> Plan:
    return plan([Device("lan", 1), Device("wan", 2)], {"lan": lan, "wan": wan}, settings)


ALL_HARDWARE = devices_at(Level.HARDWARE, Level.HARDWARE)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    made = Table()
    monkeypatch.setattr(conntrack, "look", made.look)
    monkeypatch.setattr(conntrack, "count", made.count)
    return made


def look(counter: FlowCounter, time: float, wanted: Plan = ALL_HARDWARE) -> FlowsSeen:
    return asyncio.run(counter.look(time, wanted))


def test_counts_per_place(table: Table) -> None:
    table.flows = {1: (IN_HARDWARE, 0), 2: (OFFLOAD, 0), 3: (OFFLOAD, 0), 4: (0, 0)}
    seen = look(FlowCounter(), 10.0)
    assert (seen.time, seen.hardware, seen.software) == (10.0, 1, 2)


def test_refused_is_what_stays_refused(table: Table) -> None:
    counter = FlowCounter()
    table.flows = {1: (OFFLOAD, 0), 2: (OFFLOAD, 0)}
    assert look(counter, 10.0).refused == 0
    assert look(counter, 11.0).refused == 0
    table.flows = {1: (OFFLOAD, 0), 2: (IN_HARDWARE, 0), 3: (OFFLOAD, 0)}
    assert look(counter, 12.0).refused == 1
    assert look(counter, 13.0).refused == 1
    table.flows = {}
    assert look(counter, 15.0).refused == 0


def test_control_group_is_not_refused(table: Table) -> None:
    counter = FlowCounter()
    table.flows = {1: (OFFLOAD, SETTINGS.control_mark), 2: (OFFLOAD, 0x1)}
    look(counter, 10.0)
    assert look(counter, 20.0).refused == 1


@pytest.mark.parametrize(
    "wanted",
    [
        devices_at(Level.SOFTWARE, Level.SOFTWARE),
        devices_at(Level.HARDWARE, Level.SOFTWARE),
        devices_at(
            Level.HARDWARE,
            Level.HARDWARE,
            OffloadSettings(exclusions=(Exclusion(level=Level.SOFTWARE),)),
        ),
    ],
    ids=["no hardware", "one device below", "exclusion to software"],
)
def test_flows_that_belong_below_are_not_refused(table: Table, wanted: Plan) -> None:
    counter = FlowCounter()
    table.flows = {1: (OFFLOAD, 0)}
    look(counter, 10.0, wanted)
    assert look(counter, 20.0, wanted).refused == 0
