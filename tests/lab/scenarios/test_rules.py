# SPDX-License-Identifier: GPL-2.0-or-later
"""Which flows the rules let into hardware, and what is drawn for them."""

from __future__ import annotations

import signal

import pytest

from tests.lab.capture import (
    Engine,
    TrackedConnection,
    control_arm,
    hardware_flows,
    load_ruleset,
    software_flows,
    tracked_connections,
)
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import LAN1, LAN2, SERVER_PORT, Router
from tests.lab.namespace import run
from tests.lab.traffic import Datagrams, Downloads, Pattern, Requests
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for


def from_lan1() -> list[TrackedConnection]:
    return [
        c
        for c in tracked_connections()
        if c.original.source == LAN1.host4 and c.original.destination_port == SERVER_PORT
    ]


def lasting_flows() -> list[TrackedConnection]:
    """What is offloaded of lan2: some kernels keep the short flows of lan1 for a while."""
    offloaded = (c for c in tracked_connections() if c.in_hardware or c.in_software)
    return [c for c in offloaded if c.original.source == LAN2.host4]


def request_and_complete(traffic: Traffic, count: int) -> list[TrackedConnection]:
    batch = traffic.start(Requests(count=count, per_second=25, response=2_000))
    wait_for(lambda: len(batch.report().completed) == count, f"{count} requests", 90)
    found = from_lan1()
    assert len(found) == count
    return found


def test_the_control_arm_stays_below_and_no_connection_is_marked(
    daemon: Daemon, traffic: Traffic
) -> None:
    daemon.configure("boot_delay '0'\ncontrol_share '4'")
    daemon.start().wait_for_levels(all_on("hardware"))
    short = request_and_complete(traffic, 200)
    assert not any(c.mark for c in short)
    # Binomial: 50 expected, five standard deviations of 6.1 either way.
    assert 20 < len(control_arm(short)) < 80

    batch = traffic.start(Downloads(count=40, rate=4_000, host="lan2"))
    batch.wait_until_flowing()
    wait_for(lambda: len(lasting_flows()) == 40, "40 flows offloaded")
    control = control_arm(lasting_flows())
    wait_for(lambda: hardware_flows() == 40 - len(control), "the treated flows in hardware")
    lasting = lasting_flows()
    assert {c.original for c in lasting if c.in_software} == {c.original for c in control}
    assert 0 < len(control) < 40
    assert not batch.stop().lost


def test_a_daemon_that_starts_again_draws_by_the_same_seed(
    daemon: Daemon, traffic: Traffic
) -> None:
    daemon.configure("boot_delay '0'\ncontrol_share '4'")
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=20, rate=4_000), Downloads(count=20, family=6))
    batch.wait_until_flowing()
    control = len(control_arm(tracked_connections()))
    wait_for(lambda: hardware_flows() == 40 - control, "the treated flows in hardware")
    before = run("nft", "list", "table", "inet", "flowguard")
    daemon.kill()
    daemon.start().wait_for_levels(all_on("hardware"))
    assert run("nft", "list", "table", "inet", "flowguard") == before
    assert hardware_flows() == 40 - control
    assert not batch.stop().lost


def test_short_flows_are_spared_and_long_ones_climb(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    daemon.configure("boot_delay '0'\ncontrol_share '0'\nmin_packets '60'")
    daemon.start().wait_for_levels(all_on("hardware"))
    before = engine.counter("replace")
    request_and_complete(traffic, 40)
    assert engine.counter("replace") == before
    batch = traffic.start(Downloads(count=4, rate=30_000), Downloads(count=4, family=6))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 8, "8 flows in hardware", 60, state=tracked_connections)
    assert engine.counter("replace") > before
    assert not batch.stop().lost


def test_min_packets_without_counters_is_told(daemon: Daemon, router: Router) -> None:
    daemon.configure("boot_delay '0'\nmin_packets '60'")
    daemon.start().wait_for_levels(all_on("hardware"))
    router.namespace.sysctl({"net.netfilter.nf_conntrack_acct": 0})
    try:
        wait_for(
            lambda: "nf_conntrack_acct=1" in daemon.status()["sensors"].get("counters", ""),
            "the missing counters in the status",
            state=daemon.status,
        )
        assert "no new flow is ever offloaded" in daemon.log.read_text()
    finally:
        router.namespace.sysctl({"net.netfilter.nf_conntrack_acct": 1})


# Marks and DSCP of both directions of what lan2 has to do with.
MARKING = """
table inet labmark {
    chain forward {
        type filter hook forward priority mangle
        meta iifname lan2 ct mark set ct mark | 0x100
        meta iifname lan2 ip dscp set ef
        meta oifname lan2 ip dscp set ef
    }
}
"""
EXCLUSIONS: list[tuple[str, Pattern]] = [
    ("list device 'lan2'", Downloads(count=2, host="lan2")),
    ("list src_ip '203.0.113.0/24'", Downloads(count=2, host="wan")),
    ("list dest_ip '2001:db8:ff::/64'", Downloads(count=2, family=6)),
    ("option family 'ipv6'", Downloads(count=2, family=6, host="wan")),
    ("list proto 'udp'", Datagrams(count=2)),
    ("list dest_port '7990-8010'", Downloads(count=2, host="wan")),
    ("list mark '0x100/0x3f00'", Downloads(count=2, host="lan2")),
    ("list dscp 'ef'", Downloads(count=2, host="lan2")),
]


@pytest.fixture
def marking(engine: Engine) -> None:
    """Ends with the scenario: the next one begins without tables."""
    load_ruleset(MARKING)


@pytest.mark.usefixtures("marking")
def test_each_kind_of_exclusion_keeps_its_flows_in_software_and_no_others(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    def rules() -> str:
        return run("nft", "list", "table", "inet", "flowguard")

    options = "boot_delay '0'\ncontrol_share '0'"
    daemon.configure(options)
    daemon.start().wait_for_levels(all_on("hardware"))
    for match, pattern in EXCLUSIONS:
        former = rules()
        daemon.configure(options, f"config exclude\n\toption level 'software'\n\t{match}\n")
        daemon.signal(signal.SIGHUP)
        wait_for(lambda former=former: rules() != former, f"the rules of {match}")  # type: ignore[misc]
        batch = traffic.start(pattern, Downloads(count=2))
        batch.wait_until_flowing()
        wait_for(
            lambda: (hardware_flows(), software_flows()) == (2, 2),
            f"two flows in hardware and two in software with {match}",
            state=tracked_connections,
        )
        above = [c.original for c in tracked_connections() if c.in_hardware]
        assert {(f.protocol, f.source) for f in above} == {("tcp", LAN1.host4)}, match
        assert not batch.stop().lost, match
        run("conntrack", "-F")
        wait_for(lambda: hardware_flows() + software_flows() == 0, "the flows to be gone")


def test_settings_that_are_saved_and_rolled_back_at_once_cost_no_flow(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    """As LuCI does when nobody confirms: the old file comes back, and both are announced."""
    options = "boot_delay '0'\ncontrol_share '0'"
    daemon.configure(options)
    daemon.start().wait_for_levels(all_on("hardware"))
    before = run("nft", "list", "table", "inet", "flowguard")
    batch = traffic.start(Downloads(count=4))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 4, "4 flows in hardware")
    daemon.configure("boot_delay '0'\nudp '0'\ncontrol_share '2'")
    daemon.signal(signal.SIGHUP)
    daemon.configure(options)
    daemon.signal(signal.SIGHUP)
    daemon.reload()
    daemon.wait_for_levels(all_on("hardware"))
    wait_for(lambda: run("nft", "list", "table", "inet", "flowguard") == before, "the old rules")
    assert "drain" not in daemon.log.read_text()
    wait_for(lambda: hardware_flows() == 4, "4 flows in hardware")
    assert len(batch.stop().alive) == 4
