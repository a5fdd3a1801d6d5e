# SPDX-License-Identifier: GPL-2.0-or-later
"""Stations of real access points: which path their packets take, and that they may roam."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.capture import Engine
from tests.lab.daemon import Daemon
from tests.lab.hosts import LAN1, LAN2, Router
from tests.lab.kernel_differences import whole_paths_only
from tests.lab.paths import counted
from tests.lab.shares import (
    all_kinds,
    assert_short_path,
    at_level,
    entries_of_lan2,
    of_host,
    wait_for_payload,
    wait_until_offloaded,
)
from tests.lab.traffic import Downloads, Uploads
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for
from tests.lab.wifi import (
    ACCESS_POINTS,
    GUEST_ACCESS_POINT,
    GUEST_BRIDGE,
    Station,
    bridge_of_its_own,
    bridge_with_access_points,
)

FIRST, SECOND = ACCESS_POINTS
# What a move may cost more than it does on the classic path.
MORE_GAP_SECONDS = 1.0


@pytest.fixture(autouse=True)
def counter(engine: Engine) -> Iterator[None]:
    with counted():
        yield


@pytest.fixture
def home(router: Router) -> Iterator[Station]:
    with bridge_with_access_points(router) as station:
        yield station


def gap_of_move(start: str, to: str, home: Station, traffic: Traffic, offloaded: bool) -> float:
    """The longest silence of any transfer while the station moves, in seconds; none is lost."""
    home.move(start)
    batch = traffic.start(
        Downloads(count=4, host="lan2"),
        Uploads(count=4, host="lan2"),
        Downloads(host="lan2", family=6),
    )
    batch.wait_until_flowing()
    if offloaded:
        wait_until_offloaded(batch)
    home.move(to)
    wait_for_payload(batch)
    if to in ACCESS_POINTS:
        assert not any(c.in_hardware for c in of_host(LAN2))
    report = batch.stop()
    assert len(report.alive) == batch.wanted and not report.lost, report
    return report.longest_gap


def test_in_software_a_station_has_the_short_path(
    home: Station, daemon: Daemon, traffic: Traffic
) -> None:
    home.move(FIRST)
    at_level(daemon, "software")
    batch = traffic.start(*all_kinds("lan1"), *all_kinds("lan2"))
    batch.wait_until_flowing()
    assert_short_path(batch, daemon)
    assert len(batch.stop().alive) == batch.wanted
    daemon.stop("release")


def test_in_hardware_no_flow_of_a_station_is(
    home: Station, engine: Engine, daemon: Daemon, traffic: Traffic
) -> None:
    home.move(FIRST)
    at_level(daemon, "hardware")
    batch = traffic.start(*all_kinds("lan1"), *all_kinds("lan2"))
    batch.wait_until_flowing()
    wait_for(lambda: all(c.in_hardware for c in of_host(LAN1)), "lan1's host in hardware")
    assert_short_path(batch, daemon)
    assert all(c.in_software for c in of_host(LAN2)), of_host(LAN2)
    assert not entries_of_lan2(engine)
    assert len(batch.stop().alive) == batch.wanted
    daemon.stop("release")


@pytest.mark.parametrize("level", ["software", "hardware"])
def test_a_network_on_a_bridge_of_its_own_has_the_short_path_in_software(
    level: str, router: Router, engine: Engine, daemon: Daemon, traffic: Traffic
) -> None:
    with bridge_of_its_own(router):
        at_level(daemon, level, devices=("lan1", "wan"))
        through = GUEST_ACCESS_POINT if whole_paths_only() else GUEST_BRIDGE
        assert daemon.levels()[through] == "software"
        batch = traffic.start(*all_kinds("lan2"))
        batch.wait_until_flowing()
        assert_short_path(batch, daemon)
        assert not any(c.in_hardware for c in of_host(LAN2))
        assert not entries_of_lan2(engine)
        assert len(batch.stop().alive) == batch.wanted
        daemon.stop("release")


@pytest.mark.parametrize(
    ("start", "to"),
    [(FIRST, SECOND), (FIRST, LAN2.port), (LAN2.port, FIRST)],
    ids=["roams", "to the port", "from the port"],
)
@pytest.mark.parametrize("level", ["software", "hardware"])
def test_a_station_moves_hardly_slower_than_on_the_classic_path(
    start: str,
    to: str,
    level: str,
    home: Station,
    daemon: Daemon,
    traffic: Traffic,
) -> None:
    classic = gap_of_move(start, to, home, traffic, offloaded=False)
    at_level(daemon, level)
    gap = gap_of_move(start, to, home, traffic, offloaded=True)
    print(f"{level}, {start} to {to}: {gap:.2f} s, on the classic path {classic:.2f} s")
    assert gap <= classic + MORE_GAP_SECONDS
    daemon.stop("release")
