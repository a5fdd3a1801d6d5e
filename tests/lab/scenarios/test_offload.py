# SPDX-License-Identifier: GPL-2.0-or-later
"""The offload edge on a real kernel: converging and draining."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap

from flowguard.core.model import Level
from flowguard.core.tables.plan import Exclusion, OffloadSettings
from tests.lab.capture import Engine, hardware_flows, ruleset, software_flows, tracked_connections
from tests.lab.edge import (
    FLOW_TIMEOUT,
    Kernel,
    all_at,
    assert_all_alive,
    flowing,
    levels,
    timeouts,
)
from tests.lab.hosts import SERVER_PORT
from tests.lab.namespace import run
from tests.lab.traffic import Downloads
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for


def test_down_and_up_loses_nothing_and_strands_nothing(
    kernel: Kernel, engine: Engine, traffic: Traffic
) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = flowing(traffic)
    wait_for(lambda: hardware_flows() == 20, "20 flows in hardware", state=tracked_connections)
    assert timeouts() == [FLOW_TIMEOUT] * 2

    kernel.converge(all_at(Level.SOFTWARE))
    assert engine.bound() == []
    assert hardware_flows() == 0
    assert timeouts() == [30, 30]
    assert kernel.drains[0].flows == 20 and len(kernel.drains[0].tuples) == 20
    assert (kernel.drains[-1].flows, kernel.drains[-1].engine_entries) == (0, 0)
    wait_for(lambda: software_flows() == 20, "20 flows in software")

    kernel.converge(all_at(Level.NONE))
    assert "flowtable" not in ruleset()
    wait_for(lambda: software_flows() == 0, "no flow in software")

    kernel.converge(all_at(Level.HARDWARE))
    wait_for(lambda: hardware_flows() == 20, "20 flows in hardware again")

    kernel.converge(all_at(Level.NONE))
    assert engine.bound() == []
    assert_all_alive(batch)


def test_busy_flows_climb_from_software_to_hardware(kernel: Kernel, traffic: Traffic) -> None:
    kernel.converge(all_at(Level.SOFTWARE))
    batch = flowing(traffic)
    wait_for(lambda: software_flows() == 20, "20 flows in software")
    kernel.converge(all_at(Level.HARDWARE))
    assert kernel.drains == []
    wait_for(lambda: hardware_flows() == 20, "20 flows in hardware")
    assert_all_alive(batch)


def test_one_device_leaves_and_returns(kernel: Kernel, engine: Engine, traffic: Traffic) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = flowing(traffic)
    wait_for(lambda: hardware_flows() == 20, "20 flows in hardware")
    without_lan2 = {"lan1": Level.HARDWARE, "lan2": Level.SOFTWARE, "wan": Level.HARDWARE}
    kernel.converge(levels(without_lan2))
    wait_for(
        lambda: hardware_flows() == 12, "lan1's 12 flows in hardware", state=tracked_connections
    )
    wait_for(lambda: software_flows() == 8, "lan2's 8 flows in software", state=tracked_connections)
    assert not [line for line in engine.bound() if "192.168.2." in line or "db8:0002:" in line]
    kernel.converge(all_at(Level.HARDWARE))
    wait_for(lambda: hardware_flows() == 20, "20 flows in hardware again")
    assert_all_alive(batch)


def test_tables_that_match_are_adopted_untouched(kernel: Kernel, traffic: Traffic) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = flowing(traffic)
    wait_for(lambda: hardware_flows() == 20, "20 flows in hardware")
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
    wait_for(lambda: hardware_flows() == 20, "20 flows in hardware")
    kernel.run(change_of_mind())
    assert timeouts() == [FLOW_TIMEOUT] * 2
    wait_for(lambda: hardware_flows() == 20, "20 flows in hardware again")
    kernel.converge(all_at(Level.SOFTWARE))
    assert engine.bound() == []
    assert_all_alive(batch)


KILLED = """
    import asyncio, sys
    from flowguard.core.model import Device, Level
    from flowguard.core.tables.plan import OffloadSettings, plan
    from flowguard.actuators.approach import Converger
    from flowguard.kernel import linux

    names = ("lan1", "lan2", "wan")
    target = plan([Device(n, 0) for n in names], dict.fromkeys(names, Level.SOFTWARE),
                  OffloadSettings(control_share=0))
    machine = linux.machine()
    tell = lambda _: print("draining", flush=True)
    converger = Converger(machine, machine.tables, sys.argv[1], tell)
    asyncio.run(converger.converge(target))
"""


def test_killed_in_the_middle_of_a_drain(kernel: Kernel, engine: Engine, traffic: Traffic) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = flowing(traffic)
    wait_for(lambda: hardware_flows() == 20, "20 flows in hardware")
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


def test_drain_that_does_not_end_shows_its_tuples(
    kernel: Kernel, engine: Engine, traffic: Traffic
) -> None:
    kernel.converge(all_at(Level.HARDWARE))
    batch = traffic.start(Downloads(count=2))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 2, "2 flows in hardware")
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
        wait_for(lambda: hardware_flows() == 2, "2 flows in hardware")
        traffic.clear()
        wait_for(lambda: hardware_flows() == 0, "their end")
    stranded = engine.bound()
    assert stranded
    own = traffic.start(Downloads(count=2, host="lan2"))
    own.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 2, "2 flows in hardware")
    kernel.converge(all_at(Level.SOFTWARE))
    assert [line.split()[0] for line in engine.bound()] == [line.split()[0] for line in stranded]
    assert kernel.drains[-1].engine_entries == 0
    assert_all_alive(own, 2)


def test_exclusions_and_control_group_stay_below(kernel: Kernel, traffic: Traffic) -> None:
    port = (SERVER_PORT, SERVER_PORT)
    excluded = Exclusion(level=Level.SOFTWARE, destination_ports=port)
    kernel.converge(all_at(Level.HARDWARE, OffloadSettings(exclusions=(excluded,))))
    batch = flowing(traffic)
    wait_for(lambda: software_flows() == 20, "20 excluded flows in software")
    assert hardware_flows() == 0
    batch.stop()

    everyone = OffloadSettings(control_share=1)
    kernel.converge(all_at(Level.HARDWARE, everyone))
    control = flowing(traffic)
    wait_for(lambda: software_flows() >= 20, "20 flows of the control group in software")
    assert hardware_flows() == 0
    assert not any(c.mark for c in tracked_connections())
    assert_all_alive(control)
