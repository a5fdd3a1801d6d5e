# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is in which arm, and who takes no part, by the rules that the kernel holds."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.arms.draw import Draw
from flowguard.core.model import Device, Family, FlowTuple, Level, Protocol
from flowguard.core.tables.plan import Exclusion, OffloadSettings, plan
from flowguard.kernel.conntrack import TCP, UDP, Entry
from flowguard.kernel.conntrack.flow import PROTOCOL_NUMBERS, encode_tuple
from flowguard.sensors.arms.drawing import Drawing

PAIR = ("br-lan", "wan")
DEVICES = [Device("lan1", 1, forward_names=("br-lan",)), Device("wan", 2)]
HARDWARE = {"lan1": Level.HARDWARE, "wan": Level.HARDWARE}


def drawing(draw: Draw | None = None, **settings: object) -> Drawing:
    made = OffloadSettings(**settings)  # type: ignore[arg-type]
    return Drawing(plan(DEVICES, HARDWARE, made, draw or Draw()).hardware)


def entry(flow: FlowTuple, mark: int = 0) -> Entry:
    back = FlowTuple(flow.protocol, flow.destination, flow.source, 1, 2)
    key, reply_key = (encode_tuple(kind, one)[1][4:] for kind, one in ((1, flow), (2, back)))
    number = PROTOCOL_NUMBERS[flow.protocol]
    return Entry(1, 0, mark, number, 0, 0, 0, 0, True, None, None, key, reply_key)


WEB = FlowTuple("tcp", "192.168.1.2", "203.0.113.1", 40_000, 443)
WEB6 = FlowTuple("tcp", "2001:db8::2", "2001:db8:1::1", 40_000, 443)
CALL = FlowTuple("udp", "192.168.1.2", "203.0.113.1", 5060, 5060)


def concerns(
    asked: Drawing, flow: FlowTuple, pair: tuple[str, str] | None = PAIR, mark: int = 0
) -> bool:
    found = entry(flow, mark)
    return asked.concerns(found, found.flow(), pair)


def test_what_goes_between_the_devices_takes_part() -> None:
    assert all(concerns(drawing(), flow) for flow in (WEB, WEB6, CALL))
    assert concerns(drawing(), WEB, pair=None)


@pytest.mark.parametrize("pair", [("br-lan", "lo"), ("br-lan", "wg0")])
def test_what_passes_another_device_does_not_unless_its_mark_may_lead_it_elsewhere(
    pair: tuple[str, str],
) -> None:
    assert not concerns(drawing(), WEB, pair)
    assert concerns(drawing(), WEB, pair, mark=0x100)


def test_other_protocols_take_no_part() -> None:
    assert not concerns(drawing(), FlowTuple("gre", "192.168.1.2", "203.0.113.1", 0, 0))


@pytest.mark.parametrize(
    ("exclusion", "left"),
    [
        (Exclusion(device="wan"), {WEB, WEB6, CALL}),
        (Exclusion(device="lan2"), set()),
        (Exclusion(family=Family.IPV6), {WEB6}),
        (Exclusion(protocol=Protocol.UDP), {CALL}),
        (Exclusion(destination_ports=(400, 500)), {WEB, WEB6}),
        (Exclusion(source_ports=(5060, 5061)), {CALL}),
        (Exclusion(source=ipaddress.ip_network("192.168.1.0/24")), {WEB, CALL}),
        (Exclusion(destination=ipaddress.ip_network("2001:db8:1::/48")), {WEB6}),
        (Exclusion(mark=(0x10, 0xF0)), set()),
        (Exclusion(mark=(0, 0xF0)), {WEB, WEB6, CALL}),
        (Exclusion(dscp=46), set()),
        (Exclusion(level=Level.SOFTWARE, protocol=Protocol.UDP), {CALL}),
    ],
)
def test_who_is_excluded_from_the_level_takes_no_part(
    exclusion: Exclusion, left: set[FlowTuple]
) -> None:
    asked = drawing(exclusions=(exclusion,))
    assert {flow for flow in (WEB, WEB6, CALL) if not concerns(asked, flow)} == left


def test_families_and_shares_of_the_settings() -> None:
    assert not concerns(drawing(ipv6=False), WEB6)
    assert drawing().control_share == 16
    assert drawing(Draw(control_share=2)).control_share == 2
    assert drawing(Draw(canary=4)).control_share == pytest.approx(4 / 3)
    assert drawing(control_share=0).control_share == Drawing().control_share == 0


@given(st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_a_wider_control_arm_keeps_those_that_it_had(port: int, seed: int) -> None:
    found = entry(FlowTuple("tcp", "192.168.1.2", "203.0.113.1", port, 443))
    narrow, wide = drawing(Draw(seed=seed)), drawing(Draw(control_share=2, seed=seed))
    assert narrow.hash_of(found) == wide.hash_of(found)
    if narrow.is_control(narrow.hash_of(found)):
        assert wide.is_control(wide.hash_of(found))


def test_the_shares_come_out_and_another_seed_draws_other_arms() -> None:
    flows = [
        entry(FlowTuple(name, "192.168.1.2", "203.0.113.1", port, 443))
        for port in range(10_000, 12_000)
        for name in ("tcp",)
    ]
    arms = []
    for seed in (1, 2):
        asked = drawing(Draw(control_share=4, seed=seed))
        arms.append({e.key for e in flows if asked.is_control(asked.hash_of(e))})
        # Binomial: 500 expected of 2000, five standard deviations of 19.4.
        assert 400 < len(arms[-1]) < 600
    # Independent draws: 125 in both.
    assert 70 < len(arms[0] & arms[1]) < 180


def test_tcp_and_udp_of_the_same_ports_share_their_arm() -> None:
    both = [entry(FlowTuple(p, "192.168.1.2", "203.0.113.1", 5, 443)) for p in ("tcp", "udp")]
    assert [one.protocol for one in both] == [TCP, UDP]
    assert len({drawing().hash_of(one) for one in both}) == 1
