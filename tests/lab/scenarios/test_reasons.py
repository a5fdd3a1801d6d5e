# SPDX-License-Identifier: GPL-2.0-or-later
"""Each connection says why it is not in hardware, and the bytes of each path are counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.lab.capture import (
    Engine,
    hardware_flows,
)
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import LAN1, LAN2, SERVER_PORT, WAN, Router
from tests.lab.namespace import run
from tests.lab.paths import ACCESS_POINT, Roamer, bridge_with_access_point, tunnel
from tests.lab.shares import wait_until_offloaded
from tests.lab.traffic import Datagrams, Downloads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

HARDWARE = all_on("hardware")
BASE = "boot_delay '0'\nlevel 'hardware'"
PRINTER = "config exclude 'printer'\n\toption family 'ipv6'\n\toption level 'software'\n"


@pytest.fixture
def home(router: Router) -> Iterator[Roamer]:
    with bridge_with_access_point(router) as roamer:
        yield roamer


def reasons(daemon: Daemon, **conditions: str) -> Counter[str | None]:
    return Counter(flow["why"] for flow in daemon.flows(**conditions))


def begun(traffic: Traffic, *patterns: Downloads | Datagrams) -> Batch:
    """All of them are in a flowtable."""
    batch = traffic.start(*patterns)
    batch.wait_until_flowing()
    wait_until_offloaded(batch)
    return batch


def wait_for_reasons(daemon: Daemon, expected: dict[str | None, int], **conditions: str) -> None:
    def found() -> bool:
        return reasons(daemon, **conditions) == expected

    wait_for(found, f"the reasons {expected}", state=lambda: daemon.flows(**conditions))


def test_each_connection_of_a_home_says_why_it_is_where_it_is(
    home: Roamer, router: Router, engine: Engine, daemon: Daemon, traffic: Traffic
) -> None:
    home.move(ACCESS_POINT)
    daemon.configure(f"{BASE}\ncontrol_share '2'", PRINTER)
    daemon.start().wait_for_levels(HARDWARE)
    batch = begun(
        traffic,
        Downloads(count=16),
        Downloads(count=2, family=6),
        Downloads(count=3, host="lan2"),
        Datagrams(host="lan2"),
    )
    wait_for_reasons(daemon, {"not_behind_port": 4}, host=LAN2.host4, level="software")
    wait_for_reasons(daemon, {"excluded": 2}, host=LAN1.host6, level="software")
    (excluded, _) = daemon.flows(why="excluded")
    assert excluded["because"] == "excluded: printer"
    assert f"behind {ACCESS_POINT}" in daemon.flows(why="not_behind_port")[0]["because"]
    wait_for(
        lambda: set(reasons(daemon, host=LAN1.host4)) == {None, "control_arm"},
        "both arms and nothing else",
        state=lambda: daemon.flows(host=LAN1.host4),
    )
    wired = reasons(daemon, host=LAN1.host4)
    assert sum(wired.values()) == 16
    # What conntrack and the driver say is what is told.
    for flow in daemon.flows(host=LAN1.host4):
        assert (flow["level"] == "hardware") == (flow["why"] is None)
    assert wired[None] == hardware_flows()
    run("bash", "-c", f"echo > /dev/udp/{WAN.host4}/{SERVER_PORT}")
    (own,) = daemon.flows(device="lo", why="not_forwarded")
    assert own["reply"].startswith(f"udp {WAN.host4}:{SERVER_PORT} ")
    text = daemon.cli("flows", "--why", "control_arm", "--level", "software")
    assert text.count("in the control arm") == wired["control_arm"]
    assert len(batch.stop().alive) == batch.wanted
    daemon.stop("release")


def test_a_port_that_is_held_off_is_named_to_its_hosts(
    home: Roamer, engine: Engine, daemon: Daemon, traffic: Traffic
) -> None:
    home.move(LAN2.port)
    daemon.configure(f"{BASE}\ncontrol_share '0'")
    daemon.start().wait_for_levels(HARDWARE)
    batch = begun(traffic, Downloads(count=2), Downloads(count=2, host="lan2"))
    engine.printk("<3>NETDEV WATCHDOG: lan2 (labengine): transmit queue 0 timed out 5000 ms")
    daemon.wait_for_levels({**HARDWARE, "lan2": "software"})
    wait_for_reasons(daemon, {"held_off": 2}, host=LAN2.host4)
    wait_for_reasons(daemon, {None: 2}, host=LAN1.host4)
    assert {flow["device"] for flow in daemon.flows(why="held_off")} == {"lan2"}
    assert len(batch.stop().alive) == batch.wanted
    daemon.stop("release")


def test_what_the_driver_refuses_is_told_so(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    daemon.configure(f"{BASE}\ncontrol_share '0'")
    daemon.start().wait_for_levels(HARDWARE)
    with engine.fault(refuse_errno=95):
        batch = begun(traffic, Downloads(count=3))
        wait_for_reasons(daemon, {"refused": 3}, host=LAN1.host4)
    assert not batch.stop().lost


def test_what_goes_through_a_tunnel_is_told_so(
    router: Router, engine: Engine, daemon: Daemon, traffic: Traffic
) -> None:
    with tunnel(router, "gre") as name:
        daemon.configure(f"{BASE}\ncontrol_share '0'")
        daemon.start().wait_for_levels(HARDWARE)
        batch = begun(traffic, Downloads(count=3))
        wait_for_reasons(daemon, {"tunnel": 3}, host=LAN1.host4)
        assert {flow["device"] for flow in daemon.flows(device=name)} == {name}
        assert len(batch.stop().alive) == batch.wanted
        daemon.stop("release")


def carried() -> int:
    """Bytes of the connections to the servers, as conntrack has counted them."""
    lines = run("conntrack", "-L").splitlines()
    numbers = [n for line in lines if f"dport={SERVER_PORT}" in line for n in _bytes(line)]
    return sum(numbers)


def _bytes(line: str) -> list[int]:
    return [int(number) for number in re.findall(r"bytes=(\d+)", line)]


def total(daemon: Daemon, path: str) -> int:
    counted = daemon.status()["bytes"]
    return int(counted[path]["total"]) if counted else 0


@pytest.mark.parametrize("share", ["0", "16"])
def test_the_bytes_of_each_path_survive_a_step_and_a_restart(
    share: str, daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    daemon.configure(f"{BASE}\ncontrol_share '{share}'")
    daemon.start().wait_for_levels(HARDWARE)
    wait_for(lambda: daemon.status()["bytes"] is not None, "a first look")
    batch = begun(traffic, Downloads(count=8, rate=50_000))
    wait_for(lambda: total(daemon, "hardware") > 10_000_000, "bytes in hardware", 120)
    daemon.set_level("software")
    daemon.wait_for_levels(all_on("software"))
    before = {path: total(daemon, path) for path in ("hardware", "software", "none")}
    wait_for(lambda: total(daemon, "software") > before["software"] + 3_000_000, "in software", 120)
    assert sum(total(daemon, path) for path in before) <= carried()
    assert total(daemon, "hardware") - before["hardware"] < 5_000_000
    daemon.stop("keep")
    after = carried()
    daemon.start()
    assert not batch.stop().lost
    wait_for(lambda: total(daemon, "software") > 0, "what was counted before")
    kept = sum(total(daemon, path) for path in before)
    # What passed between two looks, and while nobody was there, is not in it.
    assert 0.8 * after < kept < 1.5 * after
    daemon.stop("release")
