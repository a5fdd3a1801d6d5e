# SPDX-License-Identifier: GPL-2.0-or-later
"""Up and down the ladder with live connections: none is lost, nothing stays in the engine."""

from __future__ import annotations

import pytest

from tests.lab.capture import (
    Engine,
    control_arm,
    hardware_flows,
    software_flows,
    tracked_connections,
)
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import LAN2, Segment
from tests.lab.namespace import run
from tests.lab.traffic import Datagrams, Downloads, KeepAlives, Uploads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

TIMEOUT = "net.netfilter.nf_flowtable_tcp_timeout"


def two_hundred(traffic: Traffic) -> Batch:
    """200 connections of all kinds, both families, all ports, in and out."""
    batch = traffic.start(
        Downloads(count=60, rate=8_000),
        Downloads(count=40, rate=8_000, family=6, host="lan2"),
        Uploads(count=30, rate=8_000, host="lan2"),
        Uploads(count=20, rate=8_000, family=6),
        KeepAlives(count=30, interval=3),
        Downloads(count=5, rate=8_000, host="wan"),
        Datagrams(count=15, per_second=4),
    )
    batch.wait_until_flowing()
    return batch


@pytest.mark.parametrize("family", [4, 6])
def test_hardware_offload_is_proven(
    daemon: Daemon, engine: Engine, traffic: Traffic, family: int
) -> None:
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(
        Downloads(count=10, family=family),
        Uploads(count=10, family=family, host="lan2"),
        Datagrams(count=10, family=family),
    )
    batch.wait_until_flowing()
    # One in 16 is in the control arm, one level below, so not all 30.
    wait_for(lambda: hardware_flows() >= 20, "flows in hardware", state=daemon.status)
    hits = engine.counter("hits")
    wait_for(lambda: engine.counter("hits") > hits + 200, "hits of the engine")
    protocols = {c.original.protocol for c in tracked_connections() if c.in_hardware}
    assert protocols == {"tcp", "udp"}
    assert not any(c.in_hardware for c in control_arm(tracked_connections()))
    assert not any(c.mark for c in tracked_connections())
    # Looked at one after the other, and flows may still be on their way.
    wait_for(
        lambda: daemon.status()["flows"]["hardware"] == hardware_flows(),
        "the status to count as the kernel does",
        state=daemon.status,
    )
    assert daemon.status()["flows"]["refused"] == 0
    report = batch.stop()
    assert len(report.alive) == 30, report


def test_down_to_none_and_up_again_under_200_connections(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = two_hundred(traffic)
    wait_for(lambda: hardware_flows() > 100, "flows in hardware", state=daemon.status)
    for level in ("software", "none", "software"):
        daemon.set_level(level)
        daemon.wait_for_levels(all_on(level))
        assert engine.bound() == []
        assert hardware_flows() == 0
        tables = run("nft", "list", "tables")
        assert ("flowguard_sw" in tables) == (level == "software")
        assert "inet flowguard\n" not in tables
    assert "wanted hardware" in daemon.cli("level", "hardware")
    daemon.wait_for_levels(all_on("hardware"))
    wait_for(lambda: hardware_flows() > 100, "flows back in hardware", state=daemon.status)
    report = batch.stop()
    assert not report.lost, report
    assert len(report.alive) == 200, report


def test_a_level_change_during_a_drain_supersedes_it(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=20))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() > 10, "flows in hardware", state=daemon.status)
    daemon.set_level("software")
    assert daemon.status()["state"] == "draining"
    daemon.set_level("hardware")
    daemon.wait_for_levels(all_on("hardware"))
    wait_for(lambda: hardware_flows() > 10, "flows in hardware again", state=daemon.status)
    daemon.set_level("none")
    daemon.wait_for_levels(all_on("none"))
    assert engine.bound() == []
    assert not batch.stop().lost


def test_what_a_driver_forgets_is_parked_after_the_limit_and_said(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    daemon.configure("boot_delay '0'\ndrain_limit '15'\ncontrol_share '0'\nflow_timeout '7'")
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=4))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() >= 2, "flows in hardware", state=daemon.status)
    with engine.fault(forget_destroy=1):
        daemon.set_level("software")
        draining = "the engine's entries alone to be left"
        wait_for(lambda: entries_left(daemon) > 0, draining, state=daemon.status)
        assert any("203.0.113.1" in flow for flow in daemon.status()["drain"]["tuples"])
        wait_for(lambda: bool(daemon.status()["parked"]), "the end of it", state=daemon.status)
    status = daemon.status()
    assert status["drain"] is None and set(status["parked"]) == set(all_on("software"))
    assert any("could not be drained" in problem for problem in status["problems"])
    assert daemon.levels() == all_on("software")
    assert run("sysctl", "-n", TIMEOUT).strip() == "7"
    # The driver stays bound, and takes nothing.
    rules = run("nft", "list", "table", "inet", "flowguard")
    assert "flags offload" in rules and "flow add" not in rules
    more = traffic.start(Downloads(count=3, host="lan2"))
    more.wait_until_flowing()
    # The old ones come down where hardware has one of their directions only.
    wait_for(lambda: in_software_of(LAN2) == 3, "the new ones in software", state=daemon.status)
    engine.flush()
    daemon.stop("release")
    assert "flowguard" not in run("nft", "list", "tables")
    assert not batch.stop().lost
    assert not more.stop().lost


def in_software_of(segment: Segment) -> int:
    return sum(c.in_software and c.original.source == segment.host4 for c in tracked_connections())


def entries_left(daemon: Daemon) -> int:
    """Those of the engine when no connection is in hardware any more."""
    drain = daemon.status()["drain"]
    return (drain["flows"] == 0 and drain["engine_entries"]) or 0


@pytest.mark.parametrize(("fault", "value"), [("refuse_errno", 95), ("table_limit", 4)])
def test_flows_that_the_driver_refuses_are_seen_and_run_in_software(
    daemon: Daemon, engine: Engine, traffic: Traffic, fault: str, value: int
) -> None:
    daemon.start().wait_for_levels(all_on("hardware"))
    with engine.fault(**{fault: value}):
        batch = traffic.start(Downloads(count=12, rate=4_000))
        batch.wait_until_flowing()
        wait_for(
            lambda: daemon.status()["flows"]["refused"] > 0,
            "refusals in the status",
            state=daemon.status,
        )
        assert not batch.report().lost
    assert "refused" in daemon.log.read_text()
    assert not batch.stop().lost


def test_a_check_binds_no_driver_before_the_service_does(daemon: Daemon, engine: Engine) -> None:
    daemon.configure("boot_delay '1h'")
    daemon.start().wait_for_levels(all_on("software"))
    assert daemon.cli("check").count("has not been tried") == 3
    assert {device["hardware_capable"] for device in daemon.status()["devices"]} == {None}


def test_release_leaves_nothing_behind(daemon: Daemon, engine: Engine, traffic: Traffic) -> None:
    before = run("sysctl", "-n", TIMEOUT)
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=10))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() > 5, "flows in hardware", state=daemon.status)
    daemon.stop("release")
    assert "flowguard" not in run("nft", "list", "tables")
    assert engine.bound() == []
    assert run("sysctl", "-n", TIMEOUT) == before
    assert not batch.stop().lost


def test_a_stop_that_keeps_leaves_the_tables_and_a_start_adopts_them(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=10))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() > 5, "flows in hardware", state=daemon.status)
    daemon.stop("keep")
    rules = run("nft", "-a", "list", "table", "inet", "flowguard")
    replaced = engine.counter("destroy")
    daemon.start().wait_for_levels(all_on("hardware"))
    # Handles grow with every change, so equal handles mean that nothing was touched.
    assert run("nft", "-a", "list", "table", "inet", "flowguard") == rules
    assert engine.counter("destroy") == replaced
    assert not batch.stop().lost


def test_a_stop_leaves_software_and_a_start_comes_back_to_hardware(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    before = run("sysctl", "-n", TIMEOUT)
    # Nobody is drawn for the control arm, which would be a level lower.
    daemon.configure("boot_delay '0'\ncontrol_share '0'")
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=10))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 10, "flows in hardware", state=daemon.status)
    daemon.stop()
    tables = run("nft", "list", "tables").splitlines()
    assert [table for table in tables if "flowguard" in table] == ["table inet flowguard_sw"]
    assert engine.bound() == []
    assert run("sysctl", "-n", TIMEOUT) == before
    wait_for(lambda: software_flows() == 10, "all flows in software", state=tracked_connections)
    daemon.start().wait_for_levels(all_on("hardware"))
    wait_for(lambda: hardware_flows() == 10, "flows back in hardware", state=daemon.status)
    assert not batch.stop().lost
