# SPDX-License-Identifier: GPL-2.0-or-later
"""What kernels do differently, seen without flowguard: the ground of docs/kernels.md."""

from __future__ import annotations

import os

import pytest

from flowguard.core.tables import topology
from flowguard.sensors.arms.census import ends_are_visible_in
from tests.lab import topologies
from tests.lab.capture import (
    Engine,
    flowtable,
    hardware_flows,
    load_ruleset,
    software_flows,
    tracked_connections,
)
from tests.lab.hosts import Router
from tests.lab.kernel import LabError
from tests.lab.kernel_differences import (
    absent_devices_are_accepted,
    closing_flows_stay,
    entries_per_flow,
    whole_paths_only,
)
from tests.lab.namespace import run
from tests.lab.traffic import Downloads
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

LATER = "later0"
# How far it is depends on when one looks.
CLOSING = {"FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT"}


def make_later() -> None:
    run("ip", "link", "add", LATER, "type", "dummy")
    run("ip", "link", "delete", LATER)


def test_flowguard_knows_the_differences_that_it_has_to_know() -> None:
    release = os.uname().release
    assert ends_are_visible_in(release) is not closing_flows_stay()
    whole = topology.paths_of(release) is not topology.Paths.ON_TOP
    assert whole is whole_paths_only()


def test_the_directions_of_a_flow_that_reach_the_driver(engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable())
    batch = traffic.start(Downloads())
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 1, "a flow in hardware")
    wait_for(lambda: len(engine.bound()) == entries_per_flow(), "its entries", state=engine.bound)
    assert not batch.stop().lost


@pytest.mark.parametrize("hardware", [False, True], ids=["software", "hardware"])
def test_a_flowtable_that_names_a_device_that_is_not_there(engine: Engine, hardware: bool) -> None:
    ruleset = flowtable(devices=("lan1", LATER), hardware=hardware)
    if not absent_devices_are_accepted():
        with pytest.raises(LabError, match="No such file or directory"):
            load_ruleset(ruleset)
        make_later()
        return
    load_ruleset(ruleset)
    if hardware:
        with pytest.raises(LabError, match="Operation not permitted"):
            make_later()
    else:
        make_later()


def test_how_a_connection_in_hardware_ends(engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable())
    batch = traffic.start(Downloads(rate=20_000, size=200_000))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 1, "a flow in hardware")
    wait_for(lambda: len(batch.report().completed) == 1, "its end", state=batch.report)
    wait_for(lambda: not engine.bound(), "hardware to let go", 10, state=engine.bound)
    (ended,) = tracked_connections()
    if closing_flows_stay():
        assert ended.in_software and not ended.state
    else:
        assert not ended.in_software and ended.state in CLOSING


@pytest.mark.parametrize(
    ("topology", "on_top"),
    [(topologies.bridge, "br-lan"), (topologies.pppoe_in_a_program, topologies.PPP)],
    ids=["bridge", "pppoe"],
)
def test_a_flowtable_without_the_device_at_the_bottom(
    topology: topologies.Topology, on_top: str, router: Router, engine: Engine, traffic: Traffic
) -> None:
    devices = ("br-lan", "wan") if on_top == "br-lan" else ("lan1", on_top)
    with topology(router):
        load_ruleset(flowtable(devices=devices, hardware=False))
        batch = traffic.start(Downloads())
        batch.wait_until_flowing()
        if whole_paths_only():
            # Each of these packets has asked for it.
            wait_for(lambda: batch.report().received > 100_000, "payload", state=batch.report)
            assert software_flows() == 0
        else:
            wait_for(lambda: software_flows() == 1, "a flow in software")
        assert not batch.stop().lost
        run("nft", "delete", "table", "inet", "labft")
