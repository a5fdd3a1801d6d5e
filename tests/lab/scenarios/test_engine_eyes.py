# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine's own table gives away: entries whose connections are gone."""

from __future__ import annotations

import re

from flowguard.core.model import FlowTuple
from flowguard.sensors.flow_counts import POLL_SECONDS
from tests.lab.capture import Engine, hardware_flows, tracked_connections
from tests.lab.daemon import PORTS, Daemon, all_on
from tests.lab.hosts import LAN2
from tests.lab.kernel_differences import entries_per_flow
from tests.lab.namespace import run
from tests.lab.traffic import Datagrams, Downloads, KeepAlives, Requests
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

FLOWS = 6


def on_hardware(daemon: Daemon) -> None:
    # All flows are in hardware: what is counted there is what was started.
    daemon.configure("boot_delay '0'\nhold_off '300'\ncontrol_share '0'")
    daemon.start().wait_for_levels(all_on("hardware"))


def wait_until_looked(daemon: Daemon, flows: int) -> None:
    """Wait until the engine was compared with these flows, which are on their way to it."""
    wait_for(lambda: hardware_flows() >= flows, f"{flows} flows in hardware")
    wait_for_a_look(daemon)
    assert daemon.status()["sensors"]["engine"] == "ok"


def wait_for_a_look(daemon: Daemon) -> None:
    """A look that finds nothing leaves no trace, but within two turns there is a whole one."""
    since = daemon.status()["time"]
    wait_for(lambda: daemon.status()["time"] > since + 2 * POLL_SECONDS, "two turns", 60, 1.0)


def delete_connection(flow: FlowTuple) -> None:
    ends = ("-s", flow.source, "-d", flow.destination)
    ports = ("--sport", str(flow.source_port), "--dport", str(flow.destination_port))
    run("conntrack", "-D", "-p", flow.protocol, *ends, *ports)


def test_an_engine_that_keeps_what_the_kernel_forgot_is_stepped_down(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    on_hardware(daemon)
    lost = traffic.start(Datagrams(count=FLOWS))
    kept = traffic.start(Downloads(count=3, host="lan2"))
    lost.wait_until_flowing()
    kept.wait_until_flowing()
    wait_until_looked(daemon, FLOWS + 3)
    lost.stop(prove=False)
    doomed = [c.original for c in tracked_connections() if c.original.protocol == "udp"]
    entries = FLOWS * entries_per_flow()
    with engine.fault(forget_destroy=1):
        before = engine.counter("destroy")
        for flow in doomed:
            delete_connection(flow)
        # Each port is told of each entry.
        told = before + entries * len(PORTS)
        wait_for(lambda: engine.counter("destroy") >= told, "the engine to be told")
    assert not [c for c in tracked_connections() if c.original in doomed]
    seconds = wait_for(
        lambda: daemon.levels() == all_on("software"), "the step", 90, 0.5, daemon.status
    )
    print(f"stepped down {seconds:.0f} s after the connections were gone")
    status = daemon.wait_for_levels(all_on("software"))
    decisions = [d for d in status["decisions"] if d["from"] == "hardware"]
    assert len(decisions) == 3
    for decision in decisions:
        # A look may come between the deletions, and then knows the first ones for longer.
        assert re.search("engine-orphans: [3-6] flows in the engine", decision["reason"])
        assert any(str(flow) in decision["evidence"] for flow in doomed)
    # Nobody removes them, and they are not held against anybody twice.
    wait_for_a_look(daemon)
    assert len(engine.bound()) == entries
    assert {device["strikes"] for device in daemon.status()["devices"]} == {1}
    assert not kept.stop().lost


def test_busy_and_ending_flows_are_no_evidence(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    on_hardware(daemon)
    steady = traffic.start(
        Downloads(count=5, family=6),
        Datagrams(count=5),
        KeepAlives(count=5, host="lan2"),
    )
    vanishing = traffic.start(Datagrams(count=5, host="lan2"))
    steady.wait_until_flowing()
    vanishing.wait_until_flowing()
    wait_until_looked(daemon, 20)
    many = traffic.start(Requests(per_second=8, count=600))
    vanishing.stop(prove=False)
    # Deleted, and rightly forgotten by the engine too.
    for flow in (c.original for c in tracked_connections()):
        if flow.protocol == "udp" and flow.source == LAN2.host4:
            delete_connection(flow)
    wait_for(lambda: len(many.report().completed) >= 600, "600 requests", 180, 1.0, many.report)
    status = daemon.status()
    assert status["sensors"]["engine"] == "ok"
    assert daemon.levels() == all_on("hardware")
    assert not [d for d in status["decisions"] if "engine" in d["reason"]]
    assert {device["strikes"] for device in status["devices"]} == {0}
    assert not steady.stop().lost
