# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine's own table gives away: entries whose connections are gone."""

from __future__ import annotations

from flowguard.core.model import FlowTuple
from tests.lab.capture import Engine, tracked_connections
from tests.lab.daemon import Daemon, all_on
from tests.lab.namespace import run
from tests.lab.traffic import Datagrams, Downloads, KeepAlives, Requests
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

FLOWS = 6


def on_hardware(daemon: Daemon) -> None:
    # All flows are in hardware: what is counted there is what was started.
    daemon.configure("boot_delay '0'\nhold_off '300'\ncontrol_share '0'")
    daemon.start().wait_for_levels(all_on("hardware"))


def wait_until_looked(daemon: Daemon, traffic: Traffic, flows: int) -> None:
    """Wait until these flows, which are in hardware, and the engine were looked at."""
    wait_for_count(daemon, flows)
    # The engine is looked at after the flows are counted: the next count shows that it was.
    traffic.start(KeepAlives(host="lan2")).wait_until_flowing()
    wait_for_count(daemon, flows + 1)
    assert daemon.status()["sensors"]["engine"] == "ok"


def wait_for_count(daemon: Daemon, flows: int) -> None:
    wait_for(
        lambda: (daemon.status()["flows"]["hardware"] or 0) >= flows,
        f"a count of {flows} flows in hardware",
        state=daemon.status,
    )


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
    wait_until_looked(daemon, traffic, FLOWS + 3)
    lost.stop(prove=False)
    doomed = [c.original for c in tracked_connections() if c.original.protocol == "udp"]
    with engine.fault(forget_destroy=1):
        before = engine.counter("destroy")
        for flow in doomed:
            delete_connection(flow)
        wait_for(lambda: engine.counter("destroy") >= before + FLOWS, "the kernel to forget")
    assert not [c for c in tracked_connections() if c.original in doomed]
    seconds = wait_for(
        lambda: daemon.levels() == all_on("software"), "the step", 90, 0.5, daemon.status
    )
    print(f"stepped down {seconds:.0f} s after the connections were gone")
    status = daemon.wait_for_levels(all_on("software"))
    decisions = [d for d in status["decisions"] if d["to"] == "software"]
    assert len(decisions) == 3
    for decision in decisions:
        assert f"engine-orphans: {FLOWS} flows in the engine" in decision["reason"]
        assert any(str(flow) in decision["evidence"] for flow in doomed)
    # Nobody removes them, and they are not held against anybody twice.
    assert len(engine.bound()) >= FLOWS
    assert {device["strikes"] for device in status["devices"]} == {1}
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
    wait_until_looked(daemon, traffic, 20)
    many = traffic.start(Requests(per_second=8, count=600))
    vanishing.stop(prove=False)
    # Deleted and rightly forgotten by the engine too; the next packet makes a new one.
    for connection in tracked_connections():
        delete_connection(connection.original)
    wait_for(lambda: len(many.report().completed) >= 600, "600 requests", 180, 1.0, many.report)
    status = daemon.status()
    assert status["sensors"]["engine"] == "ok"
    assert daemon.levels() == all_on("hardware")
    assert not [d for d in status["decisions"] if "engine" in d["reason"]]
    assert {device["strikes"] for device in status["devices"]} == {0}
    assert not steady.stop().lost
