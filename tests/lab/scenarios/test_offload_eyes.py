# SPDX-License-Identifier: GPL-2.0-or-later
"""The offload edge on a real kernel: what it probes, watches and counts."""

from __future__ import annotations

import asyncio

import pytest

from flowguard.actuators.approach import ConvergeError
from flowguard.core.model import Level
from flowguard.kernel import conntrack
from flowguard.sensors.capability import probe
from flowguard.sensors.flow_counts import FlowCounter
from tests.lab.capture import Engine, ruleset, software_flows
from tests.lab.daemon import PORTS
from tests.lab.edge import (
    Kernel,
    all_at,
    assert_all_alive,
    levels,
)
from tests.lab.hosts import LAN1, Router
from tests.lab.namespace import run
from tests.lab.traffic import Datagrams, Downloads
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for


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
    assert kernel.run(probe(kernel.machine, "lan1")).capable is True
    assert kernel.run(probe(kernel.machine, "lo")).capable is False
    assert kernel.run(probe(kernel.machine, "absent")).capable is None
    run("ethtool", "-K", "lan1", "hw-tc-offload", "off")
    try:
        vetoed = kernel.run(probe(kernel.machine, "lan1"))
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
        found = kernel.run(kernel.machine.network.scan(names, {}))
        assert found.missing == ("lan1", "spare")
        kernel.converge(levels(dict.fromkeys(renamed, Level.SOFTWARE)))
        state = kernel.run(kernel.machine.tables.read()).software
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


def test_refused_flows_are_counted(kernel: Kernel, engine: Engine, traffic: Traffic) -> None:
    async def twice() -> tuple[int, int]:
        counter = FlowCounter(kernel.machine.connections)
        first = await counter.look(100.0, wanted)
        again = await counter.look(103.0, wanted)
        return first.refused, again.refused

    engine.set_fault("refuse_errno", 95)
    wanted = all_at(Level.HARDWARE)
    kernel.converge(wanted)
    batch = traffic.start(Downloads(count=3))
    batch.wait_until_flowing()
    wait_for(lambda: software_flows() == 3, "3 refused flows")
    assert kernel.run(twice()) == (0, 3)
    assert_all_alive(batch, 3)


def test_watch_sees_what_others_delete(kernel: Kernel) -> None:
    seen: list[bool] = []

    async def suspected(command: tuple[str, ...], seconds: float = 1) -> bool:
        """Whether the watch called within so many seconds of a command by somebody else."""
        called = asyncio.Event()
        watch = kernel.machine.tables.watch(called.set, pytest.fail)
        try:
            await kernel.converger.converge(all_at(Level.HARDWARE))
            await kernel.converger.converge(all_at(Level.SOFTWARE))
            seen.append(called.is_set())
            process = await asyncio.create_subprocess_exec(*command)
            await process.wait()
            async with asyncio.timeout(seconds):
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
    assert kernel.run(suspected(("nft", "delete", "table", "inet", "flowguard_sw"), 30))
    assert not kernel.run(kernel.converger.intact())
    assert seen == [False] * 3


def test_link_watch_sees_devices_come(kernel: Kernel) -> None:
    async def seen() -> bool:
        changed = asyncio.Event()
        watch = kernel.machine.network.watch(changed.set, pytest.fail)
        try:
            process = await asyncio.create_subprocess_exec(
                "ip", "link", "add", "newcomer", "type", "dummy"
            )
            await process.wait()
            await asyncio.wait_for(changed.wait(), 5)
        finally:
            watch.close()
        found = await kernel.machine.network.scan(["newcomer"], {})
        return found.missing == ()

    try:
        assert kernel.run(seen())
    finally:
        run("ip", "link", "delete", "newcomer")


def test_conntrack_entry_is_deleted(kernel: Kernel, traffic: Traffic) -> None:
    async def first_flow() -> conntrack.Flow:
        batches = [batch async for batch in conntrack.sweep(conntrack.Filter())]
        return batches[0][0].flow()

    batch = traffic.start(Datagrams(count=1))
    batch.wait_until_flowing()
    batch.stop(prove=False)
    flow = kernel.run(first_flow())
    kernel.run(conntrack.delete([flow]))
    assert kernel.run(conntrack.find([flow])) == [None]
    kernel.run(conntrack.delete([flow]))
