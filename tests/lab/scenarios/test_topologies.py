# SPDX-License-Identifier: GPL-2.0-or-later
"""Bridges, VLANs, bonds and PPPoE: the devices are found, and flows take the short path."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.lab import topologies
from tests.lab.capture import Engine, hardware_flows, load_ruleset, software_flows
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import Router
from tests.lab.kernel_differences import whole_paths_only
from tests.lab.namespace import run
from tests.lab.topologies import PPP, Topology
from tests.lab.traffic import Downloads, Uploads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

PORTS = all_on("hardware")
COUNTER = """
table inet labcount {
    chain forward { type filter hook forward priority -300; counter; }
}
"""
PAYLOAD = 1 << 20
SEGMENT = 1400


@pytest.fixture(autouse=True)
def counter(engine: Engine) -> Iterator[None]:
    load_ruleset(COUNTER)
    yield
    run("nft", "delete", "table", "inet", "labcount")


def forwarded() -> int:
    """The packets that took the classic path so far."""
    shown = run("nft", "list", "table", "inet", "labcount")
    found = re.search(r"counter packets (\d+)", shown)
    assert found
    return int(found[1])


def payload(batch: Batch) -> int:
    now = batch.report()
    return now.sent + now.received


def assert_short_path(batch: Batch, daemon: Daemon) -> None:
    """What goes on flowing passes the forward hook by, in both directions."""
    wait_for(
        lambda: hardware_flows() + software_flows() >= batch.wanted,
        "all flows to be offloaded",
        state=daemon.status,
    )
    bytes_before, packets_before = payload(batch), forwarded()
    wait_for(lambda: payload(batch) - bytes_before > PAYLOAD, "some more payload", 120)
    packets = (payload(batch) - bytes_before) / SEGMENT
    assert forwarded() - packets_before < packets / 10


@pytest.mark.parametrize(
    ("topology", "levels"),
    [
        (topologies.bridge, PORTS),
        (topologies.filtering_bridge, PORTS),
        (topologies.vlan, PORTS),
        (topologies.bond, {"bond0": "software", "lan2": "hardware", "wan": "hardware"}),
        (topologies.pppoe, PORTS),
        (topologies.pppoe_over_vlan, PORTS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_devices_are_found_below_and_flows_are_offloaded(
    topology: Topology,
    levels: dict[str, str],
    daemon: Daemon,
    router: Router,
    traffic: Traffic,
) -> None:
    with topology(router):
        daemon.start().wait_for_levels(levels)
        assert daemon.levels() == levels
        batch = traffic.start(Downloads(count=2), Uploads(count=2, host="lan2"))
        batch.wait_until_flowing()
        assert_short_path(batch, daemon)
        report = batch.stop()
        assert len(report.alive) == 4, report
        daemon.stop("release")


def test_pppoe_in_a_program_is_in_software_where_the_kernel_takes_it(
    daemon: Daemon, router: Router, traffic: Traffic
) -> None:
    lans = {"lan1": "hardware", "lan2": "hardware"}
    levels = lans if whole_paths_only() else {**lans, PPP: "software"}
    with topologies.pppoe_in_a_program(router):
        daemon.start().wait_for_levels(levels)
        assert daemon.levels() == levels
        batch = traffic.start(Downloads(count=2), Uploads(count=2, host="lan2"))
        batch.wait_until_flowing()
        if whole_paths_only():
            reasons = {left["name"]: left["reason"] for left in daemon.status()["left_out"]}
            assert "finds no way through it" in reasons[PPP]
        else:
            assert_short_path(batch, daemon)
        report = batch.stop()
        assert len(report.alive) == 4, report
        daemon.stop("release")


def test_a_bridge_that_is_built_meanwhile_is_followed(
    daemon: Daemon, router: Router, traffic: Traffic
) -> None:
    daemon.start().wait_for_levels(PORTS)
    with topologies.bridge(router):
        wait_for(
            lambda: "br-lan" in run("nft", "list", "table", "inet", "flowguard"),
            "the bridge's name",
            state=daemon.status,
        )
        assert daemon.levels() == PORTS
        batch = traffic.start(Downloads(count=3))
        batch.wait_until_flowing()
        assert_short_path(batch, daemon)
        assert len(batch.stop().alive) == 3


def test_a_session_that_is_dialled_anew_costs_no_drain(daemon: Daemon, router: Router) -> None:
    with topologies.pppoe(router):
        daemon.start().wait_for_levels(PORTS)
    daemon.wait_for_levels(PORTS)
    with topologies.pppoe(router):
        daemon.wait_for_levels(PORTS)
    assert "drain" not in daemon.log.read_text()


def test_what_cannot_take_part_is_left_out_with_its_reason(daemon: Daemon, router: Router) -> None:
    router.namespace.ip(
        "link add inner0 type veth peer name inner1",
        "address add 10.9.9.1/30 dev inner0",
        "link set inner0 up",
    )
    try:
        daemon.start().wait_for_levels(PORTS)
        (left,) = daemon.status()["left_out"]
        assert left["name"] == "inner0" and "Ethernet" in left["reason"]
    finally:
        router.namespace.ip("link delete inner0")
