# SPDX-License-Identifier: GPL-2.0-or-later
"""Which tables and rules follow from levels and settings."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.arms.draw import BUCKETS, Draw
from flowguard.core.model import Device, Family, Host, Level, Protocol
from flowguard.core.records import replace
from flowguard.core.tables.description import (
    AddressIn,
    BucketBelow,
    DevicesOutside,
    FamilyIs,
    HostOutside,
    InterfaceIs,
    Leave,
    Offload,
    PacketsAtLeast,
    Plan,
    ProtocolIs,
    Rule,
    Side,
    Table,
)
from flowguard.core.tables.plan import Exclusion, OffloadSettings, plan
from flowguard.core.tables.why import Why

LAN = Device("lan1", 2, forward_names=("br-lan",))
WAN = Device("wan", 3)
PLAIN = OffloadSettings(control_share=0)
DRAWN = OffloadSettings(control_share=16)
TOP = {"lan1": Level.HARDWARE, "wan": Level.HARDWARE}


def tables(
    levels: dict[str, Level], settings: OffloadSettings = PLAIN, draw: Draw | None = None
) -> Plan:
    return plan((LAN, WAN), levels, settings, draw or Draw())


def hardware(settings: OffloadSettings) -> Table:
    table = tables({"lan1": Level.HARDWARE, "wan": Level.HARDWARE}, settings).hardware
    assert table
    return table


def test_no_device_means_no_table() -> None:
    assert plan((), {}, PLAIN) == Plan(None, None)
    assert tables({"lan1": Level.NONE, "wan": Level.NONE}) == Plan(None, None)


def test_hardware_devices_are_in_the_software_table_too() -> None:
    result = tables({"lan1": Level.HARDWARE, "wan": Level.SOFTWARE})
    assert result.hardware and result.hardware.devices == ("lan1",)
    assert result.software and result.software.devices == ("lan1", "wan")
    assert result.hardware.hardware and not result.software.hardware


def test_the_forward_hook_sees_bridges_so_the_set_names_them() -> None:
    assert hardware(PLAIN).forward_names == ("br-lan", "lan1", "wan")


def test_rules_take_what_goes_between_the_devices() -> None:
    assert hardware(PLAIN).rules == (
        Rule((DevicesOutside(Side.SOURCE),), Leave(Why.OUTSIDE)),
        Rule((DevicesOutside(Side.DESTINATION),), Leave(Why.OUTSIDE)),
        Rule((ProtocolIs(Protocol.TCP),), Offload()),
        Rule((ProtocolIs(Protocol.UDP),), Offload()),
    )


def test_udp_and_ipv6_can_be_left_out() -> None:
    rules = hardware(OffloadSettings(udp=False, ipv6=False, control_share=0)).rules
    assert Rule((FamilyIs(Family.IPV6),), Leave(Why.SWITCHED_OFF)) in rules
    assert Rule((ProtocolIs(Protocol.UDP),), Offload()) not in rules


def test_in_a_mixed_bridge_hardware_takes_only_hosts_behind_its_ports() -> None:
    lan = replace(LAN, bridges=("br-lan",), bridge_ports=("lan1",), beside=("phy0-ap0",))
    hosts = (Host("192.168.1.2", "lan1"), Host("192.168.1.3", "phy0-ap0"))
    result = plan((lan, WAN), TOP, DRAWN, Draw(seed=7), hosts)
    assert result.hardware and result.software
    assert result.hardware.hosts == ("192.168.1.2",)
    left = [
        Rule((InterfaceIs(side, "br-lan"), HostOutside(side, family)), Leave(Why.NOT_BEHIND_PORT))
        for side in Side
        for family in Family
    ]
    rules = result.hardware.rules
    assert [rule for rule in rules if rule in left] == left
    # What is in no arm of the comparison draws none.
    drawn = next(rule for rule in rules if rule.seed is not None)
    assert rules.index(drawn) > rules.index(left[-1])
    assert not any(isinstance(m, HostOutside) for r in result.software.rules for m in r.matches)


def test_an_excluded_port_of_a_bridge_makes_it_mixed() -> None:
    lan = replace(LAN, bridges=("br-lan",), bridge_ports=("lan1",), beside=("lan2",))
    other = replace(lan, name="lan2", bridge_ports=("lan2",), beside=("lan1",))
    hosts = (Host("192.168.1.2", "lan1"), Host("192.168.1.3", "lan2"))

    def hosts_without(exclusion: Exclusion) -> tuple[str, ...]:
        settings = OffloadSettings(exclusions=(exclusion,))
        table = plan((lan, other, WAN), {**TOP, "lan2": Level.HARDWARE}, settings, Draw(), hosts)
        assert table.hardware
        matches = [m for rule in table.hardware.rules for m in rule.matches]
        assert bool(table.hardware.hosts) is any(isinstance(m, HostOutside) for m in matches)
        return table.hardware.hosts

    assert hosts_without(Exclusion(Level.SOFTWARE, device="lan2")) == ("192.168.1.2",)
    # Some of its flows alone: which those are, no rule can tell.
    assert hosts_without(Exclusion(device="lan2", protocol=Protocol.UDP)) == ()
    assert hosts_without(Exclusion(device="wan")) == ()


def test_the_control_arm_leaves_the_highest_level_and_no_lower_one() -> None:
    result = tables(TOP, DRAWN, Draw(seed=7))
    assert result.hardware and result.software
    families = [r for r in result.hardware.rules if r.seed is not None]
    limit = BUCKETS // 16
    assert families == [
        Rule((BucketBelow(family, 7, limit),), Leave(Why.CONTROL_ARM)) for family in Family
    ]
    offloads = [rule.action == Offload() for rule in result.hardware.rules]
    assert result.hardware.rules.index(families[-1]) < offloads.index(True)
    assert not any(rule.seed is not None for rule in result.software.rules)


def test_with_software_on_top_the_control_arm_is_forwarded_classically() -> None:
    result = tables({"lan1": Level.SOFTWARE, "wan": Level.SOFTWARE}, DRAWN, Draw(seed=7))
    assert result.hardware is None and result.software
    assert sum(rule.seed == 7 for rule in result.software.rules) == len(Family)


def limits(draw: Draw, settings: OffloadSettings = DRAWN) -> set[int]:
    table = tables(TOP, settings, draw).hardware
    assert table
    matches = [match for rule in table.rules for match in rule.matches]
    return {match.limit for match in matches if isinstance(match, BucketBelow)}


def test_the_share_in_force_goes_before_the_configured_one() -> None:
    assert limits(Draw()) == limits(Draw(control_share=16)) == {BUCKETS // 16}
    assert limits(Draw(control_share=2)) == {BUCKETS // 2}
    assert limits(Draw(canary=4)) == {BUCKETS // 4 * 3}
    assert limits(Draw(control_share=0)) == limits(Draw(), PLAIN) == set()


def test_no_rule_writes_into_connections() -> None:
    for draw in (Draw(), Draw(canary=16, observe_share=4), Draw(control_share=2)):
        result = tables(TOP, DRAWN, draw)
        for table in (result.hardware, result.software):
            assert table
            assert {type(rule.action) for rule in table.rules} == {Leave, Offload}


def test_both_arms_wait_for_the_same_number_of_packets() -> None:
    result = tables(TOP, OffloadSettings(min_packets=20))
    assert result.hardware and result.software
    for table in (result.hardware, result.software):
        taken = [rule for rule in table.rules if rule.action == Offload()]
        assert taken and all(PacketsAtLeast(20) in rule.matches for rule in taken)


def test_an_exclusion_from_hardware_leaves_software_alone() -> None:
    settings = OffloadSettings(
        control_share=0, exclusions=(Exclusion(Level.SOFTWARE, protocol=Protocol.UDP),)
    )
    result = tables({"lan1": Level.HARDWARE, "wan": Level.HARDWARE}, settings)
    rule = Rule((ProtocolIs(Protocol.UDP),), Leave())
    assert result.hardware and rule in result.hardware.rules
    assert result.software and rule not in result.software.rules


def test_an_excluded_device_is_excluded_on_both_sides_of_a_flow() -> None:
    settings = OffloadSettings(control_share=0, exclusions=(Exclusion(device="wan"),))
    rules = hardware(settings).rules
    for side in Side:
        assert Rule((InterfaceIs(side, "wan"),), Leave()) in rules


networks = st.one_of(
    st.builds(ipaddress.ip_network, st.ip_addresses(v=4)),
    st.builds(ipaddress.ip_network, st.ip_addresses(v=6)),
)
exclusions = st.builds(
    Exclusion,
    level=st.sampled_from((Level.NONE, Level.SOFTWARE)),
    device=st.none() | st.just("wan"),
    family=st.none() | st.sampled_from(Family),
    protocol=st.none() | st.sampled_from(Protocol),
    source=st.none() | networks,
    destination_ports=st.none() | st.tuples(st.integers(0, 100), st.integers(100, 65535)),
    mark=st.none() | st.tuples(st.integers(0, 255), st.integers(0, 255)),
    dscp=st.none() | st.integers(0, 63),
)


@given(st.lists(exclusions, max_size=4).map(tuple))
def test_every_exclusion_comes_before_any_flow_is_taken(rules: tuple[Exclusion, ...]) -> None:
    table = hardware(OffloadSettings(exclusions=rules))
    actions = [type(rule.action) for rule in table.rules]
    assert Leave not in actions[actions.index(Offload) :]
    for exclusion in rules:
        if exclusion.source:
            wanted = AddressIn(Side.SOURCE, exclusion.source)
            assert any(wanted in rule.matches for rule in table.rules)
