# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel in memory against what was measured of the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowguard.core.model import FlowTuple, Protocol
from flowguard.core.tables.description import (
    HARDWARE_TABLE,
    DevicesOutside,
    Leave,
    Offload,
    ProtocolIs,
    Rule,
    Side,
    Table,
)
from flowguard.kernel.conntrack import HW_OFFLOAD, Entry, Filter, Flow
from flowguard.kernel.machine import Machine
from flowguard.kernel.nftables.changes import (
    AddRules,
    CreateTable,
    DeleteTable,
    DropRules,
    TryFlowtable,
)
from flowguard.kernel.nftables.transactions import NftablesError
from tests.simulator.actors.exchange import Exchange, Kind
from tests.simulator.machine.boundary import machine_for
from tests.simulator.machine.kernel import Kernel
from tests.simulator.machine.netdevs import Netdev
from tests.simulator.process import Process
from tests.simulator.world import World

RULES = (
    Rule((DevicesOutside(Side.SOURCE),), Leave()),
    Rule((ProtocolIs(Protocol.TCP),), Offload()),
)
HARDWARE = Table(HARDWARE_TABLE, 10, True, ("lan1", "wan"), ("br-lan", "lan1", "wan"), RULES)
STREAM = Kind("stream", "tcp", (50.0, 100.0), (1000.0, 1001.0))
TCP_TIMEOUT = "net/netfilter/nf_flowtable_tcp_timeout"


class Bench:
    """A router with a program on it that does what the test wants."""

    def __init__(self) -> None:
        self.world = World(1)
        self.kernel = Kernel(self.world)
        for name in ("lan1", "wan"):
            self.kernel.netdevs.add(Netdev(name, 0))
        self.process = Process(self.world, "test")
        self.machine: Machine = machine_for(self.process, self.kernel)
        self._flows = 0

    def wait(self, seconds: float) -> None:
        self.world.run(self.world.now + seconds)

    def open(self, kind: Kind = STREAM) -> Exchange:
        self._flows += 1
        near, far, port = "192.168.1.2", "198.51.100.1", 20000 + self._flows
        flow = Flow(
            FlowTuple(kind.protocol, near, far, port, 443),
            FlowTuple(kind.protocol, far, "203.0.113.5", 443, port),
        )
        ways = (("br-lan", "wan"), ("lan1", "wan"))
        exchange = Exchange(
            self.world, self.kernel, kind, flow, *ways, self.world.random(f"flow {self._flows}")
        )
        self.wait(2)
        return exchange

    def commit(self, *changes: Any) -> None:
        process = Process(self.world, "test")
        machine = machine_for(process, self.kernel)
        failure: list[Exception] = []

        async def main() -> None:
            try:
                await machine.tables.commit(changes)
            except NftablesError as error:
                failure.append(error)

        process.start(main)
        self.wait(5)
        if process.failure:
            raise process.failure
        if failure:
            raise failure[0]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def in_engine(bench: Bench) -> int:
    return sum(c.is_in_engine for c in bench.kernel.connections.by_id.values())


def test_a_flow_gets_into_hardware_and_is_counted_there(bench: Bench) -> None:
    bench.commit(CreateTable(HARDWARE))
    exchange = bench.open()
    assert exchange.connection.status & HW_OFFLOAD
    before = exchange.connection.shown(bench.world.now)
    bench.wait(10)
    now = exchange.connection.shown(bench.world.now)
    assert 200 < now[0] - before[0] < 800


def test_without_its_rule_and_with_timeouts_of_0_hardware_is_left_within_the_old_timeout(
    bench: Bench,
) -> None:
    bench.commit(CreateTable(HARDWARE))
    bench.open()
    bench.kernel.set_sysctl(TCP_TIMEOUT, 10)
    bench.wait(5)
    bench.commit(DropRules(HARDWARE_TABLE))
    bench.wait(60)
    assert in_engine(bench) == 1
    bench.kernel.set_sysctl(TCP_TIMEOUT, 0)
    bench.wait(8)
    assert in_engine(bench) == 1
    bench.wait(4)
    assert in_engine(bench) == 0
    assert not bench.kernel.engine.slots


def test_timeouts_that_are_put_back_in_time_let_a_busy_flow_stay(bench: Bench) -> None:
    bench.commit(CreateTable(HARDWARE))
    bench.open()
    bench.commit(DropRules(HARDWARE_TABLE))
    bench.kernel.set_sysctl(TCP_TIMEOUT, 0)
    bench.wait(5)
    bench.kernel.set_sysctl(TCP_TIMEOUT, 30)
    bench.wait(100)
    assert in_engine(bench) == 1


def test_a_flowtable_that_is_deleted_strands_its_flows_in_the_engine(bench: Bench) -> None:
    bench.commit(CreateTable(HARDWARE))
    exchange = bench.open()
    bench.commit(DeleteTable(HARDWARE_TABLE))
    assert not exchange.connection.status & HW_OFFLOAD
    assert len(bench.kernel.engine.slots) == 1


def test_a_deleted_connection_leaves_the_engine_within_a_second_and_begins_anew(
    bench: Bench,
) -> None:
    bench.commit(CreateTable(HARDWARE))
    exchange = bench.open()
    bench.commit(DropRules(HARDWARE_TABLE))
    former = exchange.connection.id
    bench.kernel.connections.delete([exchange.flow])
    bench.wait(1.1)
    assert not bench.kernel.engine.slots
    bench.wait(1)
    assert exchange.connection.id != former
    assert exchange.connection.flow in bench.kernel.connections.by_flow


def test_a_batch_is_made_as_a_whole_or_not_at_all(bench: Bench) -> None:
    with pytest.raises(NftablesError):
        bench.commit(CreateTable(HARDWARE), DeleteTable("nothing"))
    assert not bench.kernel.ruleset.tables
    bench.commit(CreateTable(HARDWARE))
    with pytest.raises(NftablesError, match="exists"):
        bench.commit(CreateTable(HARDWARE))
    generation = bench.kernel.ruleset.generation
    bench.commit(DropRules(HARDWARE_TABLE), AddRules(HARDWARE_TABLE, RULES))
    assert bench.kernel.ruleset.generation == generation + 1


def test_a_dry_run_tells_what_the_driver_refuses_and_changes_nothing(bench: Bench) -> None:
    bench.kernel.netdevs.by_name["lan1"].takes_flows = False

    async def try_them() -> list[str]:
        refused = []
        for name in ("lan1", "wan"):
            try:
                await bench.machine.tables.dry_run([TryFlowtable(name, hardware=True)])
            except NftablesError:
                refused.append(name)
        return refused

    bench.process.start(lambda: _into(try_them, found))
    found: list[list[str]] = []
    bench.wait(10)
    assert found == [["lan1"]]
    assert not bench.kernel.ruleset.tables


async def _into(work: Callable[[], Awaitable[Any]], found: list[Any]) -> None:
    found.append(await work())


def test_readers_see_the_ruleset_before_while_a_stuck_driver_keeps_a_commit(bench: Bench) -> None:
    bench.kernel.netdevs.by_name["wan"].stuck = True
    seen: list[Any] = []

    async def main() -> None:
        commit = asyncio.create_task(_commit(bench))
        await asyncio.sleep(20)
        seen.append(await bench.machine.tables.read())
        commit.cancel()

    bench.process.start(main)
    bench.wait(25)
    assert seen[0].hardware is None
    bench.kernel.netdevs.by_name["wan"].stuck = False
    bench.wait(5)
    assert bench.kernel.ruleset.hardware


async def _commit(bench: Bench) -> None:
    await bench.machine.tables.commit([CreateTable(HARDWARE)])


def test_the_ends_of_connections_are_announced_to_those_who_want_them(bench: Bench) -> None:
    heard: list[Entry] = []

    async def main() -> None:
        bench.machine.connections.listen(
            Filter(mark=4, mark_mask=4), heard.extend, lambda: None, lambda told: None
        )
        await asyncio.sleep(1000)

    bench.process.start(main)
    bench.wait(1)
    one, other = bench.open(), bench.open()
    one.connection.mark = 4
    bench.kernel.connections.delete([one.flow, other.flow])
    bench.wait(1)
    assert [entry.key for entry in heard] == [one.connection.key]
    assert heard[0].timeout is not None


def test_a_blackhole_stalls_a_flow_until_its_pauses_outlast_its_time_in_hardware(
    bench: Bench,
) -> None:
    bench.kernel.engine.faults.blackhole_flows = 100
    bench.commit(CreateTable(HARDWARE))
    bench.kernel.set_sysctl(TCP_TIMEOUT, 5)
    exchange = bench.open()
    assert exchange.stalled_since is not None
    entry = exchange.connection.entry(bench.world.now)
    bench.wait(4)
    later = exchange.connection.entry(bench.world.now)
    assert later.original_packets == entry.original_packets
    assert later.reply_packets > entry.reply_packets


def test_a_killed_program_changes_nothing_any_more(bench: Bench) -> None:
    bench.kernel.disk.write("/etc/x", "before")

    async def main() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            bench.machine.files.replace("/etc/x", "after")

    bench.process.start(main)
    bench.wait(1)
    bench.process.kill()
    bench.wait(20)
    assert bench.kernel.disk.read("/etc/x") == "before"


def test_what_is_kept_survives_a_power_cut_and_what_is_replaced_may_not(bench: Bench) -> None:
    async def main() -> None:
        await bench.machine.files.keep("/etc/kept", "text")
        bench.machine.files.replace("/var/run/gone", "text")

    bench.process.start(main)
    bench.wait(5)
    bench.kernel.disk.lose_power()
    assert bench.kernel.disk.read("/etc/kept") == "text"
    assert not bench.kernel.disk.exists("/var/run/gone")


def test_records_of_a_flood_are_lost_and_their_numbers_tell(bench: Bench) -> None:
    took: list[bytes] = []

    async def main() -> None:
        bench.machine.kernel_log.follow(None, took.extend, lambda told: None)
        await asyncio.sleep(1000)

    bench.process.start(main)
    bench.wait(1)
    for number in range(4000):
        bench.kernel.log.write(f"line {number}")
    bench.wait(5)
    assert took[-1].endswith(b"line 3999\n")
    assert 0 < len(took) < 4000
