# SPDX-License-Identifier: GPL-2.0-or-later
"""Which path the packets of each kind of host take, and that a host may move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import topologies
from tests.lab.capture import (
    Engine,
    tracked_connections,
)
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import LAN1, LAN2, Router, Segment
from tests.lab.kernel_differences import whole_paths_only
from tests.lab.namespace import run
from tests.lab.paths import (
    ACCESS_POINT,
    Roamer,
    bridge_with_access_point,
    counted,
    tunnel,
)
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

# What a move may cost beside the time in which the host is nowhere.
GAP_SECONDS = 5.0
HARDWARE = all_on("hardware")


@pytest.fixture(autouse=True)
def counter(engine: Engine) -> Iterator[None]:
    with counted():
        yield


@pytest.fixture
def home(router: Router) -> Iterator[Roamer]:
    with bridge_with_access_point(router) as roamer:
        yield roamer


def all_in_hardware(segment: Segment, count: int = 6) -> bool:
    flows = of_host(segment)
    return len(flows) == count and all(c.in_hardware for c in flows)


def all_in_software(segment: Segment, count: int = 6) -> bool:
    flows = of_host(segment)
    return len(flows) == count and all(c.in_software for c in flows)


def all_classic(segment: Segment, count: int = 6) -> bool:
    """In no flowtable, so in neither direction."""
    flows = of_host(segment)
    return len(flows) == count and not any(c.in_hardware or c.in_software for c in flows)


def has_a_path(place: str) -> bool:
    """Whether a flowtable takes flows of hosts there: of an access point by the bridge itself."""
    return place != ACCESS_POINT or not whole_paths_only()


def wait_until_apart() -> None:
    wait_for(
        lambda: all_in_hardware(LAN1) and all_in_software(LAN2),
        "lan1's host in hardware, lan2's in software",
        state=tracked_connections,
    )


@pytest.mark.parametrize("place", [LAN2.port, ACCESS_POINT])
def test_in_software_every_host_behind_a_bridge_has_the_short_path(
    place: str, home: Roamer, daemon: Daemon, traffic: Traffic
) -> None:
    home.move(place)
    at_level(daemon, "software")
    hosts = ("lan1", "lan2") if has_a_path(place) else ("lan1",)
    batch = traffic.start(*(kind for host in hosts for kind in all_kinds(host)))
    batch.wait_until_flowing()
    assert_short_path(batch, daemon)
    if not has_a_path(place):
        beside = traffic.start(*all_kinds("lan2"))
        beside.wait_until_flowing()
        wait_for_payload(beside)
        assert all_classic(LAN2), of_host(LAN2)
        assert len(beside.stop().alive) == beside.wanted
    assert len(batch.stop().alive) == batch.wanted
    daemon.stop("release")


@pytest.mark.parametrize(
    ("kind", "families"),
    [
        ("wireguard", (4, 6)),
        ("sit", (6,)),
        ("gre", (4, 6)),
        ("ipip", (4,)),
        ("ip6tnl", (4, 6)),
    ],
)
@pytest.mark.parametrize("level", ["software", "hardware"])
def test_a_tunnel_has_the_short_path_in_software_and_is_never_in_hardware(
    kind: str,
    families: tuple[int, ...],
    level: str,
    router: Router,
    engine: Engine,
    daemon: Daemon,
    traffic: Traffic,
) -> None:
    refused = {4} if kind == "ip6tnl" and whole_paths_only() else set()
    with tunnel(router, kind) as name:
        at_level(daemon, level)
        assert daemon.levels()[name] == "software"
        batch = traffic.start(*all_kinds("lan1", tuple(set(families) - refused)))
        batch.wait_until_flowing()
        assert_short_path(batch, daemon)
        assert not any(c.in_hardware for c in of_host(LAN1))
        assert len(batch.stop().alive) == batch.wanted
        if refused:
            run("conntrack", "-F")
            batch = traffic.start(*all_kinds("lan1", tuple(refused)))
            batch.wait_until_flowing()
            wait_for_payload(batch)
            assert all_classic(LAN1, batch.wanted), of_host(LAN1)
            assert len(batch.stop().alive) == batch.wanted
        daemon.stop("release")


@pytest.mark.parametrize("level", ["software", "hardware"])
def test_pppoe_over_a_vlan_has_the_short_path(
    level: str, router: Router, daemon: Daemon, traffic: Traffic
) -> None:
    with topologies.pppoe_over_vlan(router):
        at_level(daemon, level)
        batch = traffic.start(*all_kinds("lan1", (4,)))
        batch.wait_until_flowing()
        assert_short_path(batch, daemon)
        assert len(batch.stop().alive) == batch.wanted
        daemon.stop("release")


def test_in_hardware_are_only_hosts_behind_its_ports(
    home: Roamer, engine: Engine, daemon: Daemon, traffic: Traffic
) -> None:
    home.move(ACCESS_POINT)
    at_level(daemon, "hardware")
    batch = traffic.start(*all_kinds("lan1"), *all_kinds("lan2"))
    batch.wait_until_flowing()
    if has_a_path(ACCESS_POINT):
        wait_until_apart()
        assert_short_path(batch, daemon)
        counted_as = {"hardware": 6, "software": 6}
    else:
        wait_for(lambda: all_in_hardware(LAN1), "lan1's host in hardware")
        wait_for_payload(batch)
        assert all_classic(LAN2), of_host(LAN2)
        counted_as = {"hardware": 6, "software": 0}
    assert not entries_of_lan2(engine)
    wait_for(lambda: counted_as.items() <= daemon.status()["flows"].items(), "them to be counted")
    assert len(batch.stop().alive) == batch.wanted
    daemon.stop("release")


def test_a_port_of_a_bridge_that_steps_down_is_out(
    home: Roamer, engine: Engine, daemon: Daemon, traffic: Traffic
) -> None:
    home.move(LAN2.port)
    at_level(daemon, "hardware")
    batch = traffic.start(*all_kinds("lan1"), *all_kinds("lan2"))
    batch.wait_until_flowing()
    wait_for(lambda: all_in_hardware(LAN1) and all_in_hardware(LAN2), "all in hardware")
    engine.printk("<3>NETDEV WATCHDOG: lan2 (labengine): transmit queue 0 timed out 5000 ms")
    daemon.wait_for_levels({**HARDWARE, "lan2": "software"})
    wait_until_apart()
    assert_short_path(batch, daemon)
    assert not entries_of_lan2(engine)
    assert len(batch.stop().alive) == batch.wanted
    daemon.stop("release")


def test_a_port_of_a_bridge_that_is_excluded_is_out(
    home: Roamer, engine: Engine, daemon: Daemon, traffic: Traffic
) -> None:
    home.move(LAN2.port)
    exclusion = f"config exclude\n\tlist device '{LAN2.port}'\n\toption level 'software'\n"
    at_level(daemon, "hardware", exclusion)
    batch = traffic.start(*all_kinds("lan1"), *all_kinds("lan2"))
    batch.wait_until_flowing()
    wait_until_apart()
    assert not entries_of_lan2(engine)
    assert len(batch.stop().alive) == batch.wanted
    daemon.stop("release")


@pytest.mark.parametrize(("start", "to"), [(LAN2.port, ACCESS_POINT), (ACCESS_POINT, LAN2.port)])
@pytest.mark.parametrize("level", ["software", "hardware"])
def test_a_host_moves_and_its_connections_go_on(
    start: str, to: str, level: str, home: Roamer, daemon: Daemon, traffic: Traffic
) -> None:
    home.move(start)
    at_level(daemon, level)
    batch = traffic.start(
        Downloads(count=4, host="lan2"),
        Uploads(count=4, host="lan2"),
        Downloads(host="lan2", family=6),
    )
    batch.wait_until_flowing()
    if has_a_path(start):
        wait_until_offloaded(batch)
    home.move(to)
    wait_for_payload(batch)
    if to == ACCESS_POINT:
        assert not any(c.in_hardware for c in of_host(LAN2))
    report = batch.stop()
    assert len(report.alive) == batch.wanted and not report.lost, report
    assert report.longest_gap < GAP_SECONDS, report
    daemon.stop("release")
