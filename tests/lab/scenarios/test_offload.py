# SPDX-License-Identifier: GPL-2.0-or-later
"""The offload edge on a real kernel, driven directly: no policy, no daemon."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from flowguard.core.model import Device, DrainProgress, Level
from flowguard.core.plan import Exclusion, OffloadSettings, Plan, plan
from flowguard.offload import conntrack, tables
from flowguard.offload.converge import ConvergeError, Converger
from flowguard.offload.nfnetlink import Nftables
from flowguard.offload.probe import probe
from flowguard.offload.watch import TableWatch
from flowguard.sensors.flows import FlowCounter
from flowguard.sensors.links import LinkWatch, scan
from tests.lab.capture import Engine, ruleset, tracked_connections
from tests.lab.hosts import LAN1, SERVER_PORT, Router
from tests.lab.namespace import run
from tests.lab.traffic import Datagrams, Downloads, KeepAlives, Uploads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

PORTS = ("lan1", "lan2", "wan")
FLOW_TIMEOUT = 5
NO_CONTROL_GROUP = OffloadSettings(control_share=0)

Result = TypeVar("Result")


class Kernel:
    """The converger and what it reported; `run` carries one coroutine to its end."""

    def __init__(self, runner: asyncio.Runner, runtime_directory: Path) -> None:
        self._runner = runner
        self.drains: list[DrainProgress] = []
        self.runtime_directory = runtime_directory
        self.nftables = Nftables()
        self.converger = self.new_converger()

    def new_converger(self) -> Converger:
        """As after a restart."""
        return Converger(
            self.nftables,
            str(self.runtime_directory),
            self.drains.append,
            flow_timeout=FLOW_TIMEOUT,
        )

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(work)

    def converge(self, wanted: Plan) -> None:
        self.run(asyncio.wait_for(self.converger.converge(wanted), 120))


@pytest.fixture
def kernel(engine: Engine, tmp_path: Path) -> Iterator[Kernel]:
    with asyncio.Runner() as runner:
        made = Kernel(runner, tmp_path)
        yield made
        made.nftables.close()


def all_at(level: Level, settings: OffloadSettings = NO_CONTROL_GROUP) -> Plan:
    return levels(dict.fromkeys(PORTS, level), settings)


def levels(of: dict[str, Level], settings: OffloadSettings = NO_CONTROL_GROUP) -> Plan:
    return plan([Device(name, 0) for name in of], of, settings)


def in_hardware() -> int:
    return sum(connection.in_hardware for connection in tracked_connections())


def in_software() -> int:
    return sum(connection.in_software for connection in tracked_connections())


def timeouts() -> list[int]:
    files = Path("/proc/sys/net/netfilter").glob("nf_flowtable_*p_timeout")
    return [int(file.read_text()) for file in files]


def flowing(traffic: Traffic, count: int = 4) -> Batch:
    """5 kinds of `count` connections: both families and protocols, busy and idle."""
    batch = traffic.start(
        Downloads(count=count),
        Uploads(count=count, host="lan2"),
        Downloads(count=count, family=6),
        Datagrams(count=count),
        KeepAlives(count=count, host="lan2", family=6),
    )
    batch.wait_until_flowing()
    return batch


def assert_all_alive(batch: Batch, count: int = 20) -> None:
    report = batch.stop()
    assert len(report.alive) == count and not report.lost, report


def test_down_and_up_loses_nothing_and_strands_nothing(
    kernel: Kernel, engine: Engine, traffic: Traffic
) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = flowing(traffic)
    wait_for(lambda: in_hardware() == 20, "20 flows in hardware", state=tracked_connections)
    assert timeouts() == [FLOW_TIMEOUT] * 2

    kernel.converge(all_at(Level.SOFTWARE))
    assert engine.bound() == []
    assert in_hardware() == 0
    assert timeouts() == [30, 30]
    assert kernel.drains[0].flows == 20 and len(kernel.drains[0].tuples) == 20
    assert (kernel.drains[-1].flows, kernel.drains[-1].engine_entries) == (0, 0)
    wait_for(lambda: in_software() == 20, "20 flows in software")

    kernel.converge(all_at(Level.NONE))
    assert "flowtable" not in ruleset()
    wait_for(lambda: in_software() == 0, "no flow in software")

    kernel.converge(all_at(Level.HARDWARE))
    wait_for(lambda: in_hardware() == 20, "20 flows in hardware again")

    kernel.converge(all_at(Level.NONE))
    assert engine.bound() == []
    assert_all_alive(batch)


def test_busy_flows_climb_from_software_to_hardware(kernel: Kernel, traffic: Traffic) -> None:
    kernel.converge(all_at(Level.SOFTWARE))
    batch = flowing(traffic)
    wait_for(lambda: in_software() == 20, "20 flows in software")
    kernel.converge(all_at(Level.HARDWARE))
    assert kernel.drains == []
    wait_for(lambda: in_hardware() == 20, "20 flows in hardware")
    assert_all_alive(batch)


def test_one_device_leaves_and_returns(kernel: Kernel, engine: Engine, traffic: Traffic) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = flowing(traffic)
    wait_for(lambda: in_hardware() == 20, "20 flows in hardware")
    without_lan2 = {"lan1": Level.HARDWARE, "lan2": Level.SOFTWARE, "wan": Level.HARDWARE}
    kernel.converge(levels(without_lan2))
    wait_for(lambda: in_hardware() == 12, "lan1's 12 flows in hardware", state=tracked_connections)
    wait_for(lambda: in_software() == 8, "lan2's 8 flows in software", state=tracked_connections)
    assert not [line for line in engine.bound() if "192.168.2." in line or "db8:0002:" in line]
    kernel.converge(all_at(Level.HARDWARE))
    wait_for(lambda: in_hardware() == 20, "20 flows in hardware again")
    assert_all_alive(batch)


def test_tables_that_match_are_adopted_untouched(kernel: Kernel, traffic: Traffic) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = flowing(traffic)
    wait_for(lambda: in_hardware() == 20, "20 flows in hardware")
    before = run("nft", "-a", "list", "ruleset")
    kernel.converger = kernel.new_converger()
    kernel.converger.recover()
    kernel.converge(all_at(Level.HARDWARE))
    assert run("nft", "-a", "list", "ruleset") == before
    assert timeouts() == [FLOW_TIMEOUT] * 2
    assert_all_alive(batch)


def test_new_target_supersedes_a_drain(kernel: Kernel, engine: Engine, traffic: Traffic) -> None:
    async def change_of_mind() -> None:
        down = asyncio.create_task(kernel.converger.converge(all_at(Level.SOFTWARE)))
        while not kernel.drains:
            await asyncio.sleep(0.05)
        down.cancel()
        await asyncio.wait([down])
        await kernel.converger.converge(all_at(Level.HARDWARE))

    kernel.converge(all_at(Level.HARDWARE))
    batch = flowing(traffic)
    wait_for(lambda: in_hardware() == 20, "20 flows in hardware")
    kernel.run(change_of_mind())
    assert timeouts() == [FLOW_TIMEOUT] * 2
    wait_for(lambda: in_hardware() == 20, "20 flows in hardware again")
    kernel.converge(all_at(Level.SOFTWARE))
    assert engine.bound() == []
    assert_all_alive(batch)


KILLED = """
    import asyncio, sys
    from flowguard.core.model import Device, Level
    from flowguard.core.plan import OffloadSettings, plan
    from flowguard.offload.converge import Converger
    from flowguard.offload.nfnetlink import Nftables

    names = ("lan1", "lan2", "wan")
    target = plan([Device(n, 0) for n in names], dict.fromkeys(names, Level.SOFTWARE),
                  OffloadSettings(control_share=0))
    converger = Converger(Nftables(), sys.argv[1], lambda _: print("draining", flush=True))
    asyncio.run(converger.converge(target))
"""


def test_killed_in_the_middle_of_a_drain(kernel: Kernel, engine: Engine, traffic: Traffic) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = flowing(traffic)
    wait_for(lambda: in_hardware() == 20, "20 flows in hardware")
    kernel.converger.recover()
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(kernel.runtime_directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as victim:
        assert victim.stdout and victim.stdout.readline() == b"draining\n"
        victim.send_signal(signal.SIGKILL)
    assert timeouts() == [0, 0]
    kernel.converger = kernel.new_converger()
    kernel.converger.recover()
    assert timeouts() == [30, 30]
    kernel.converge(all_at(Level.SOFTWARE))
    assert engine.bound() == []
    assert timeouts() == [30, 30]
    assert_all_alive(batch)


def test_refusal_names_the_device_and_changes_nothing(kernel: Kernel) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    before = run("nft", "-a", "list", "ruleset")
    run("ip", "link", "add", "incapable", "type", "dummy")
    try:
        more = levels({**dict.fromkeys(PORTS, Level.HARDWARE), "incapable": Level.HARDWARE})
        with pytest.raises(ConvergeError, match=r"incapable.*not supported") as refused:
            kernel.converge(more)
    finally:
        run("ip", "link", "delete", "incapable")
    assert refused.value.device == "incapable"
    assert run("nft", "-a", "list", "ruleset") == before


def test_probe_tells_the_capable_from_the_incapable(kernel: Kernel, engine: Engine) -> None:
    before = ruleset()
    assert kernel.run(probe(kernel.nftables, "lan1")).capable is True
    assert kernel.run(probe(kernel.nftables, "lo")).capable is False
    assert kernel.run(probe(kernel.nftables, "absent")).capable is None
    run("ethtool", "-K", "lan1", "hw-tc-offload", "off")
    try:
        vetoed = kernel.run(probe(kernel.nftables, "lan1"))
    finally:
        run("ethtool", "-K", "lan1", "hw-tc-offload", "on")
    assert vetoed.capable is False and "hw-tc-offload" in vetoed.reason
    assert engine.counter("blocks") == 0
    assert ruleset() == before


def test_devices_vanish_and_are_renamed(kernel: Kernel, router: Router) -> None:
    names = (*PORTS, "spare")
    run("ip", "link", "add", "spare", "type", "dummy")
    try:
        kernel.converge(levels(dict.fromkeys(names, Level.SOFTWARE)))
        run("ip", "link", "delete", "spare")
        assert kernel.run(kernel.converger.intact())
        kernel.converge(levels(dict.fromkeys(names, Level.SOFTWARE)))
        rename("lan1", "renamed")
        renamed = ("renamed", "lan2", "wan")
        found = scan(names)
        assert found.missing == ("lan1", "spare")
        kernel.converge(levels(dict.fromkeys(renamed, Level.SOFTWARE)))
        state = tables.read(kernel.nftables).software
        assert state and state.devices == tuple(sorted(renamed))
    finally:
        rename("renamed", "lan1")
        # Taking it down made the kernel forget the neighbours.
        router.configure_port(LAN1)


def rename(device: str, name: str) -> None:
    """Kernels before 6.2 rename only what is down."""
    run("ip", "link", "set", device, "down")
    run("ip", "link", "set", device, "name", name)
    run("ip", "link", "set", name, "up")


def test_drain_that_does_not_end_shows_its_tuples(
    kernel: Kernel, engine: Engine, traffic: Traffic
) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = traffic.start(Downloads(count=2))
    batch.wait_until_flowing()
    wait_for(lambda: in_hardware() == 2, "2 flows in hardware")
    entries = len(engine.bound())
    engine.set_fault("forget_destroy")
    left = kernel.run(kernel.converger.release(FLOW_TIMEOUT + 10))
    assert {flow.destination_port for flow in left} & {SERVER_PORT}
    last = kernel.drains[-1]
    assert last.flows == 0 and last.engine_entries == len(last.tuples) == entries
    assert "flowguard" not in ruleset()
    assert timeouts() == [30, 30]


def test_entries_of_others_do_not_hold_up_a_drain(
    kernel: Kernel, engine: Engine, traffic: Traffic
) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    with engine.fault(forget_destroy=1):
        former = traffic.start(Downloads(count=2))
        former.wait_until_flowing()
        wait_for(lambda: in_hardware() == 2, "2 flows in hardware")
        traffic.clear()
        wait_for(lambda: in_hardware() == 0, "their end")
    stranded = engine.bound()
    assert stranded
    own = traffic.start(Downloads(count=2, host="lan2"))
    own.wait_until_flowing()
    wait_for(lambda: in_hardware() == 2, "2 flows in hardware")
    kernel.converge(all_at(Level.SOFTWARE))
    assert [line.split()[0] for line in engine.bound()] == [line.split()[0] for line in stranded]
    assert kernel.drains[-1].engine_entries == 0
    assert_all_alive(own, 2)


def test_exclusions_and_control_group_stay_below(kernel: Kernel, traffic: Traffic) -> None:
    port = (SERVER_PORT, SERVER_PORT)
    excluded = Exclusion(level=Level.SOFTWARE, destination_ports=port)
    kernel.converge(all_at(Level.HARDWARE, OffloadSettings(exclusions=(excluded,))))
    batch = flowing(traffic)
    wait_for(lambda: in_software() == 20, "20 excluded flows in software")
    assert in_hardware() == 0
    batch.stop()

    everyone = OffloadSettings(control_share=1)
    kernel.converge(all_at(Level.HARDWARE, everyone))
    control = flowing(traffic)
    wait_for(lambda: in_software() >= 20, "20 flows of the control group in software")
    assert in_hardware() == 0
    marked = [c for c in tracked_connections() if c.mark & everyone.control_mark]
    assert len(marked) >= 20
    assert_all_alive(control)


def test_refused_flows_are_counted(kernel: Kernel, engine: Engine, traffic: Traffic) -> None:
    async def twice() -> tuple[int, int]:
        counter = FlowCounter()
        first = await counter.look(100.0, wanted)
        again = await counter.look(103.0, wanted)
        return first.refused, again.refused

    engine.set_fault("refuse_errno", 95)
    wanted = all_at(Level.HARDWARE)
    kernel.converge(wanted)
    batch = traffic.start(Downloads(count=3))
    batch.wait_until_flowing()
    wait_for(lambda: in_software() == 3, "3 refused flows")
    assert kernel.run(twice()) == (0, 3)
    assert_all_alive(batch, 3)


def test_watch_sees_what_others_delete(kernel: Kernel) -> None:
    seen: list[bool] = []

    async def suspected(command: tuple[str, ...]) -> bool:
        """Whether the watch called within a second of a command by somebody else."""
        called = asyncio.Event()
        watch = TableWatch(kernel.nftables.port, called.set)
        try:
            await kernel.converger.converge(all_at(Level.HARDWARE))
            await kernel.converger.converge(all_at(Level.SOFTWARE))
            seen.append(called.is_set())
            process = await asyncio.create_subprocess_exec(*command)
            await process.wait()
            async with asyncio.timeout(1):
                await called.wait()
        except TimeoutError:
            return False
        finally:
            watch.close()
        return True

    unrelated = ("nft", "add", "table", "inet", "unrelated")
    assert not kernel.run(suspected(unrelated))
    assert not kernel.run(suspected(("nft", "delete", "table", "inet", "unrelated")))
    assert kernel.run(kernel.converger.intact())
    assert kernel.run(suspected(("nft", "delete", "table", "inet", "flowguard_sw")))
    assert not kernel.run(kernel.converger.intact())
    assert seen == [False] * 3


def test_link_watch_sees_devices_come(kernel: Kernel) -> None:
    async def seen() -> bool:
        changed = asyncio.Event()
        watch = LinkWatch(changed.set)
        try:
            process = await asyncio.create_subprocess_exec(
                "ip", "link", "add", "newcomer", "type", "dummy"
            )
            await process.wait()
            await asyncio.wait_for(changed.wait(), 5)
        finally:
            watch.close()
        return scan(["newcomer"]).missing == ()

    try:
        assert kernel.run(seen())
    finally:
        run("ip", "link", "delete", "newcomer")


def test_conntrack_entry_is_deleted(kernel: Kernel, traffic: Traffic) -> None:
    async def first_flow() -> conntrack.Flow:
        return (await conntrack.look(conntrack.Filter(), 1)).flows[0]

    batch = traffic.start(Datagrams(count=1))
    batch.wait_until_flowing()
    batch.stop(prove=False)
    flow = kernel.run(first_flow())
    assert conntrack.delete(flow) is True
    assert conntrack.delete(flow) is False
