# SPDX-License-Identifier: GPL-2.0-or-later
"""From interfaces down to the devices of the flowtable."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.tables.topology import (
    BOTTOM,
    Kind,
    LeftOut,
    Link,
    Paths,
    Resolution,
    paths_of,
    resolve,
)

SWITCH = (
    Link("eth0", Kind.CONDUIT),
    Link("lan1", Kind.PORT, lower=("eth0",)),
    Link("lan2", Kind.PORT, lower=("eth0",)),
    Link("lan3", Kind.PORT, up=False, lower=("eth0",)),
    Link("eth1", Kind.PORT),
    Link("phy0-ap0", Kind.WIFI),
)


def devices(*links: Link, of: tuple[str, ...]) -> tuple[str, ...]:
    return resolve((*SWITCH, *links), of).devices


def reason(*links: Link, of: str) -> str:
    resolution = resolve((*SWITCH, *links), (of,))
    assert resolution.devices == ()
    (left,) = resolution.left_out
    assert left.name == of
    return left.reason


def test_a_bridge_of_switch_ports_and_wifi() -> None:
    bridge = Link("br-lan", Kind.BRIDGE, lower=("lan1", "lan2", "lan3", "phy0-ap0"))
    found = resolve((*SWITCH, bridge), ("br-lan", "eth1"))
    assert found.devices == ("eth1", "lan1", "lan2")
    assert {left.name for left in found.left_out} == {"lan3", "phy0-ap0"}


def test_vlans_on_a_filtering_bridge() -> None:
    bridge = Link("br-lan", Kind.BRIDGE, lower=("lan1", "lan2"))
    vlans = [Link(f"br-lan.{n}", Kind.VLAN, lower=("br-lan",)) for n in (10, 20)]
    assert devices(bridge, *vlans, of=("br-lan.10", "br-lan.20")) == ("lan1", "lan2")


def test_a_bridge_of_vlans() -> None:
    vlan = Link("lan1.20", Kind.VLAN, lower=("lan1",))
    bridge = Link("br-guest", Kind.BRIDGE, lower=("lan1.20",))
    assert devices(vlan, bridge, of=("br-guest",)) == ("lan1",)


def test_a_bond_is_hooked_itself_because_its_packets_surface_there() -> None:
    bond = Link("bond0", Kind.BOND, lower=("lan1", "lan2"))
    vlan = Link("bond0.7", Kind.VLAN, lower=("bond0",))
    assert devices(bond, vlan, of=("bond0.7",)) == ("bond0",)


def test_a_kernel_pppoe_session_leads_to_the_port() -> None:
    vlan = Link("eth1.7", Kind.VLAN, lower=("eth1",))
    ppp = Link("pppoe-wan", Kind.PPP, lower=("eth1.7",))
    assert devices(vlan, ppp, of=("pppoe-wan",)) == ("eth1",)


def test_other_ppp_is_hooked_itself() -> None:
    assert devices(Link("3g-wan", Kind.PPP), of=("3g-wan",)) == ("3g-wan",)


def test_more_tags_than_the_kernel_follows_are_hooked_on_top() -> None:
    outer = Link("eth1.7", Kind.VLAN, lower=("eth1",))
    inner = Link("eth1.7.8", Kind.VLAN, lower=("eth1.7",))
    ppp = Link("pppoe-wan", Kind.PPP, lower=("eth1.7.8",))
    assert devices(outer, inner, ppp, of=("eth1.7.8",)) == ("eth1",)
    assert devices(outer, inner, ppp, of=("pppoe-wan",)) == ("pppoe-wan",)


def test_why_a_device_is_left_out() -> None:
    assert "switch" in reason(of="eth0")
    assert "down" in reason(of="lan3")
    assert "not exist" in reason(of="gone")
    assert "without ports" in reason(Link("br0", Kind.BRIDGE), of="br0")
    assert "not here" in reason(Link("x.5", Kind.VLAN), of="x.5")
    assert "neither" in reason(Link("veth0", Kind.OTHER), of="veth0")
    assert "built on itself" in reason(Link("ppp0", Kind.PPP, lower=("ppp0",)), of="ppp0")


def test_what_is_found_on_one_way_is_not_left_out_on_another() -> None:
    ring = Link("br0", Kind.BRIDGE, lower=("lan1", "br0"))
    assert resolve((*SWITCH, ring), ("br0", "lan1")) == Resolution(
        ("lan1",), (LeftOut("br0", "it is built on itself, through br0"),)
    )


def test_what_has_no_port_below_takes_part_itself_in_software() -> None:
    links = (
        *SWITCH,
        Link("br-lan", Kind.BRIDGE, lower=("lan1", "phy0-ap0")),
        Link("br-guest", Kind.BRIDGE, lower=("phy1-ap0",)),
        Link("br-guest.5", Kind.VLAN, lower=("br-guest",)),
        Link("phy1-ap0", Kind.WIFI),
        Link("wg0", Kind.TUNNEL),
        Link("wg1", Kind.TUNNEL, up=False),
    )
    found = resolve(links, ("br-lan", "br-guest", "br-guest.5", "wg0", "wg1", "phy0-ap0"))
    assert found.devices == ("lan1",)
    assert found.software_only == ("br-guest", "br-guest.5", "phy0-ap0", "wg0")
    assert {left.name for left in found.left_out} == {"phy1-ap0", "wg1"}


def test_where_only_whole_paths_count_tunnels_alone_take_part_themselves() -> None:
    links = (
        Link("br-guest", Kind.BRIDGE, lower=("phy1-ap0",)),
        Link("phy1-ap0", Kind.WIFI),
        Link("ppp0", Kind.PPP),
        Link("pppoe-wan", Kind.PPP, lower=("wan",)),
        Link("wan", Kind.PORT),
        Link("wg0", Kind.TUNNEL),
    )
    interfaces = ("br-guest", "ppp0", "pppoe-wan", "wg0")
    found = resolve(links, interfaces, Paths.WHOLE)
    assert (found.devices, found.software_only) == (("wan",), ("wg0",))
    reasons = {left.name: left.reason for left in found.left_out}
    assert reasons.keys() == {"br-guest", "phy1-ap0", "ppp0"}
    assert all("this kernel" in reasons[name] for name in ("br-guest", "ppp0"))


def test_where_the_kernel_finds_its_way_through_wifi_it_takes_part_itself() -> None:
    links = (
        Link("br-guest", Kind.BRIDGE, lower=("phy1-ap0",)),
        Link("br-lan", Kind.BRIDGE, lower=("lan1", "phy0-ap0")),
        Link("lan1", Kind.PORT),
        Link("phy0-ap0", Kind.WIFI),
        Link("phy1-ap0", Kind.WIFI),
        Link("phy2-ap0", Kind.WIFI),
    )
    found = resolve(links, ("br-guest", "br-lan", "phy2-ap0"), Paths.WHOLE_WITH_WIFI)
    assert found == Resolution(("lan1",), (), ("phy0-ap0", "phy1-ap0", "phy2-ap0"))


@pytest.mark.parametrize(
    ("release", "paths"),
    [
        ("6.1.0-51-amd64", Paths.ON_TOP),
        ("6.12.95", Paths.ON_TOP),
        ("7.1.4", Paths.ON_TOP),
        ("7.2-rc1", Paths.WHOLE),
        ("7.3.4", Paths.WHOLE_WITH_WIFI),
        ("8.0", Paths.WHOLE_WITH_WIFI),
    ],
)
def test_what_a_kernel_asks_of_the_ways_of_a_flow(release: str, paths: Paths) -> None:
    assert paths_of(release) is paths


NAMES = [f"d{n}" for n in range(8)]
LINKS = st.lists(
    st.builds(
        Link,
        st.sampled_from(NAMES),
        st.sampled_from(Kind),
        st.booleans(),
        st.lists(st.sampled_from([*NAMES, "elsewhere"]), max_size=3, unique=True).map(tuple),
    ),
    unique_by=lambda link: link.name,
)
INTERFACES = st.lists(st.sampled_from([*NAMES, "elsewhere"]), max_size=4, unique=True)


@given(LINKS, INTERFACES)
def test_only_devices_that_are_up_and_can_carry_a_flowtable(
    links: list[Link], interfaces: list[str]
) -> None:
    by_name = {link.name: link for link in links}
    found = resolve(links, interfaces)
    for name in found.devices:
        assert by_name[name].up
        assert by_name[name].kind in BOTTOM or name in interfaces or not by_name[name].lower
    assert not {left.name for left in found.left_out} & set(found.devices)


@given(LINKS, INTERFACES)
def test_no_interface_passes_without_a_word(links: list[Link], interfaces: list[str]) -> None:
    for name in interfaces:
        found = resolve(links, [name])
        assert found.devices or found.left_out or found.software_only


@given(LINKS, INTERFACES, st.randoms(use_true_random=False))
def test_order_does_not_matter(
    links: list[Link], interfaces: list[str], order: random.Random
) -> None:
    found = resolve(links, interfaces)
    shuffled = [*links]
    order.shuffle(shuffled)
    order.shuffle(interfaces)
    assert resolve(shuffled, interfaces).devices == found.devices


@given(LINKS, INTERFACES)
def test_interfaces_add_up(links: list[Link], interfaces: list[str]) -> None:
    alone = {name for i in interfaces for name in resolve(links, [i]).devices}
    assert set(resolve(links, interfaces).devices) == alone


def test_a_device_reached_by_many_ways_is_looked_at_in_time() -> None:
    """Each stage doubles the number of ways."""
    width = 60
    stages = [Link(f"s{n}", Kind.BRIDGE, lower=(f"a{n}", f"b{n}")) for n in range(width)]
    sides = [
        Link(f"{side}{n}", Kind.BRIDGE, lower=(f"s{n + 1}",)) for n in range(width) for side in "ab"
    ]
    assert resolve((*stages, *sides, Link(f"s{width}", Kind.PORT)), ("s0",)).devices == (
        f"s{width}",
    )
