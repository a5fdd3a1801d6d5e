# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a connection is not on the wanted level: by the rules, the devices and the packets."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.arms.draw import Draw
from flowguard.core.model import Device, Family, FlowTuple, Host, Level, Protocol, Verdict
from flowguard.core.records import replace
from flowguard.core.state import State
from flowguard.core.tables.description import Leave, Plan
from flowguard.core.tables.matching import Connection, TableRules
from flowguard.core.tables.plan import Exclusion, OffloadSettings, plan
from flowguard.core.tables.reasons import SENTENCES, Reason, Seen, Stage, reason
from flowguard.core.tables.topology import SOFTWARE_ONLY, Kind
from flowguard.core.tables.why import Why

HARDWARE, SOFTWARE, NONE = Level.HARDWARE, Level.SOFTWARE, Level.NONE
LAN = Device(
    "lan1",
    2,
    forward_names=("br-lan", "lan1"),
    bridges=("br-lan",),
    bridge_ports=("lan1",),
    beside=("lan2", "phy0-ap0"),
    hardware_capable=True,
)
LAN2 = replace(LAN, name="lan2", ifindex=3, forward_names=("br-lan", "lan2"))
LAN2 = replace(LAN2, bridge_ports=("lan2",), beside=("lan1", "phy0-ap0"))
WAN = Device("wan", 4, forward_names=("wan",), hardware_capable=True)
TUNNEL = Device(
    "wg0",
    5,
    forward_names=("wg0",),
    hardware_capable=False,
    reason=SOFTWARE_ONLY[Kind.TUNNEL],
)
USB = replace(WAN, name="usb0", ifindex=6, forward_names=("usb0",), hardware_capable=False)
USB = replace(USB, reason="its driver takes no flows")
DEVICES = (LAN, LAN2, WAN, TUNNEL, USB)
HOSTS = (
    Host("192.168.1.2", "lan1"),
    Host("192.168.1.3", "phy0-ap0"),
    Host("192.168.1.4", "lan2"),
)
TOP = {"lan1": HARDWARE, "lan2": HARDWARE, "wan": HARDWARE, "wg0": SOFTWARE, "usb0": SOFTWARE}
STATE = State(wanted=HARDWARE, devices=DEVICES, hosts=HOSTS, levels=tuple(TOP.items()), time=1000.0)
LEFT_OUT = {"ppp0": "neither Ethernet hardware nor built on it"}
WEB = Connection(
    FlowTuple("tcp", "192.168.1.2", "203.0.113.1", 40_000, 443),
    FlowTuple("tcp", "203.0.113.1", "198.51.100.7", 443, 40_000),
    ("br-lan", "wan"),
    connection_hash=1 << 31,
)


def tables(levels: dict[str, Level] | None = None, **settings: object) -> Plan:
    made = OffloadSettings(**settings)  # type: ignore[arg-type]
    return plan(DEVICES, levels or TOP, made, Draw(seed=7), HOSTS)


def of_host(address: str, connection: Connection = WEB) -> Connection:
    return replace(connection, original=replace(connection.original, source=address))


def why(
    connection: Connection = WEB,
    path: Level = SOFTWARE,
    held: Plan | None = None,
    state: State = STATE,
    **seen: object,
) -> Reason | None:
    found = Seen(connection, path, **{"packets": 100, **seen})  # type: ignore[arg-type]
    return reason(found, held or tables(), state, LEFT_OUT)


def held_off(device: str, highest: Level = SOFTWARE) -> State:
    verdict = Verdict(device, highest, 1, 900.0, 600.0, 1500.0, "transmit queue timed out")
    return replace(STATE, verdicts=(verdict,))


def test_who_is_where_he_should_be_has_no_reason() -> None:
    assert why(path=HARDWARE) is None
    assert why(state=replace(STATE, wanted=SOFTWARE)) is None
    assert why(path=NONE, state=replace(STATE, wanted=NONE)) is None


@pytest.mark.parametrize(
    ("connection", "path", "expected"),
    [
        (replace(WEB, original=replace(WEB.original, protocol="gre")), NONE, Why.OTHER_PROTOCOL),
        (replace(WEB, ends=("lo", "wan")), NONE, Why.NOT_FORWARDED),
        (replace(WEB, ends=("br-lan", None)), NONE, Why.NOT_FORWARDED),
        (replace(WEB, connection_hash=0), SOFTWARE, Why.CONTROL_ARM),
        (of_host("192.168.1.3"), SOFTWARE, Why.NOT_BEHIND_PORT),
        (of_host("192.168.1.99"), SOFTWARE, Why.NOT_BEHIND_PORT),
        (replace(WEB, ends=("br-lan", "wg0")), SOFTWARE, Why.TUNNEL),
        (replace(WEB, ends=("br-lan", "usb0")), SOFTWARE, Why.NO_ENGINE),
        (replace(WEB, ends=("br-lan", "ppp0")), NONE, Why.OUTSIDE),
        (WEB, SOFTWARE, Why.REFUSED),
        (WEB, NONE, Why.IDLE),
        (of_host("192.168.1.3"), NONE, Why.IDLE),
    ],
)
def test_by_the_flow_itself(connection: Connection, path: Level, expected: Why) -> None:
    found = why(connection, path)
    assert found and found.why is expected


def test_the_sentence_names_the_place() -> None:
    assert str(why(of_host("192.168.1.3"))).endswith("192.168.1.3 is behind phy0-ap0")
    assert str(why(replace(WEB, ends=("br-lan", "ppp0")), NONE)).endswith(LEFT_OUT["ppp0"])
    assert "no route to 203.0.113.1" in str(why(replace(WEB, ends=("br-lan", None)), NONE))


def test_what_is_marked_may_be_routed_elsewhere() -> None:
    found = why(replace(WEB, ends=("br-lan", None), mark=0x100), NONE)
    assert found and found.why is Why.IDLE


def test_a_device_that_is_held_off_is_named_with_its_end() -> None:
    levels = {**TOP, "wan": SOFTWARE}
    found = why(held=tables(levels), state=held_off("wan"))
    assert found == Reason(Why.HELD_OFF, "wan: transmit queue timed out", "wan", 1500.0)


def test_a_port_of_a_bridge_that_is_held_off_is_the_reason_for_its_hosts_alone() -> None:
    held, state = tables({**TOP, "lan2": SOFTWARE}), held_off("lan2")
    found = why(of_host("192.168.1.4"), held=held, state=state)
    assert found and (found.why, found.device) == (Why.HELD_OFF, "lan2")
    other = why(held=held, state=state)
    assert other and other.why is Why.REFUSED


def test_an_excluded_port_of_a_bridge_is_the_reason_for_its_hosts() -> None:
    exclusion = Exclusion(SOFTWARE, device="lan2", section="printer")
    found = why(of_host("192.168.1.4"), held=tables(exclusions=(exclusion,)))
    assert found == Reason(Why.EXCLUDED, "printer", "lan2")


def test_without_tables_it_is_what_keeps_the_device_down() -> None:
    waiting = replace(STATE, suspended=True, levels=())
    found = why(path=NONE, held=Plan(None, None), state=waiting)
    assert found and found.why is Why.NOT_NOW and "flowguard resume" in str(found)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"helped": True}, Why.HELPER),
        ({"packets": None}, Why.NOT_COUNTED),
        ({"packets": 9}, Why.TOO_FEW_PACKETS),
        ({"stage": Stage.STARTING}, Why.TOO_FEW_PACKETS),
        ({"stage": Stage.CLOSING}, Why.CLOSING),
        ({}, Why.IDLE),
    ],
)
def test_by_its_packets(seen: dict[str, object], expected: Why) -> None:
    found = why(path=NONE, held=tables(min_packets=10), **seen)  # type: ignore[arg-type]
    assert found and found.why is expected


def test_what_is_switched_off_is_told_so() -> None:
    call = replace(WEB, original=replace(WEB.original, protocol="udp"))
    found = why(call, NONE, tables(udp=False))
    assert found and found.why is Why.SWITCHED_OFF
    there = FlowTuple("tcp", "2001:db8::2", "2001:db8:1::1", 40_000, 443)
    back = FlowTuple("tcp", "2001:db8:1::1", "2001:db8::2", 443, 40_000)
    web6 = replace(WEB, original=there, reply=back)
    found = why(web6, NONE, tables(ipv6=False))
    assert found and found.why is Why.SWITCHED_OFF


def test_every_reason_has_its_sentence_and_is_in_the_readme() -> None:
    assert set(SENTENCES) == set(Why)
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert [why for why in Why if f"\n| `{why}` | " not in readme] == []


ADDRESSES = st.sampled_from(["192.168.1.2", "192.168.1.3", "192.168.1.4", "10.0.0.9"])
CONNECTIONS = st.builds(
    lambda source, protocol, port, ends, mark, number: Connection(
        FlowTuple(protocol, source, "203.0.113.1", port, 443),
        FlowTuple(protocol, "203.0.113.1", source, 443, port),
        ends,
        mark,
        number,
    ),
    ADDRESSES,
    st.sampled_from(["tcp", "udp", "gre", "1"]),
    st.integers(0, 65535),
    st.tuples(*[st.sampled_from(["br-lan", "wan", "wg0", "usb0", "ppp0", "lo", None])] * 2),
    st.sampled_from([0, 0x100]),
    st.integers(0, 2**32 - 1),
)
EXCLUSIONS = st.sampled_from(
    [
        Exclusion(section="ports", destination_ports=(443, 443)),
        Exclusion(SOFTWARE, section="marked", mark=(0x100, 0xFF00)),
        Exclusion(section="telephones", protocol=Protocol.UDP),
        Exclusion(SOFTWARE, section="six", family=Family.IPV6),
        Exclusion(section="printer", source=ipaddress.ip_network("192.168.1.4/32")),
    ]
)
PLANS = st.builds(
    lambda levels, exclusions, udp, packets: tables(
        dict(zip(TOP, levels, strict=True)),
        exclusions=tuple(exclusions),
        udp=udp,
        min_packets=packets,
    ),
    st.tuples(*[st.sampled_from([HARDWARE, SOFTWARE, NONE])] * 3, *[st.just(SOFTWARE)] * 2),
    st.lists(EXCLUSIONS, max_size=2),
    st.booleans(),
    st.sampled_from([0, 10]),
)
SEEN = st.builds(
    Seen,
    CONNECTIONS,
    st.sampled_from(Level),
    st.none() | st.integers(0, 100),
    st.sampled_from(Stage),
    st.booleans(),
)


@given(SEEN, PLANS, st.sampled_from(Level))
def test_every_connection_has_one_reason_or_is_on_the_wanted_level(
    seen: Seen, held: Plan, wanted: Level
) -> None:
    found = reason(seen, held, replace(STATE, wanted=wanted), LEFT_OUT)
    assert (found is None) == (seen.path.rank >= wanted.rank)
    if found:
        assert str(found).startswith(SENTENCES[found.why])


@given(SEEN, PLANS)
def test_what_a_rule_leaves_alone_is_told_so_by_the_same_rule(seen: Seen, held: Plan) -> None:
    connection = seen.connection
    table = held.hardware if seen.path is SOFTWARE else held.software
    is_forwarded = None not in connection.ends and "lo" not in connection.ends
    if seen.path is HARDWARE or not table or not is_forwarded:
        return
    if connection.original.protocol not in {*Protocol}:
        return
    rule = TableRules(table).leaving(connection)
    found = reason(seen, held, STATE, LEFT_OUT)
    assert found
    by_rules = {rule.action.why for rule in table.rules if isinstance(rule.action, Leave)}
    of_devices = {Why.TUNNEL, Why.NO_ENGINE, Why.NOT_NOW, Why.NOT_BEHIND_PORT}
    if rule is None:
        assert found.why not in by_rules | of_devices or found.why is Why.SWITCHED_OFF
        return
    assert isinstance(rule.action, Leave)
    if rule.action.why in (Why.OUTSIDE, Why.NOT_BEHIND_PORT):
        assert found.why in of_devices | {rule.action.why}
    else:
        assert (found.why, found.detail) == (rule.action.why, rule.action.section)
