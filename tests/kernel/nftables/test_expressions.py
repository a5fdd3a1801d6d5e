# SPDX-License-Identifier: GPL-2.0-or-later
"""Each match and action as pyroute2 decodes it, written the way `nft --debug=netlink` does."""

from __future__ import annotations

import sys
from ipaddress import ip_network
from typing import Any

import pytest
from pyroute2.netlink.nfnetlink import nftsocket as nft

from flowguard.core.model import Family, Protocol
from flowguard.core.tables.description import (
    Action,
    AddressIn,
    BucketBelow,
    DevicesOutside,
    DscpIs,
    FamilyIs,
    HostOutside,
    InterfaceIs,
    Leave,
    MarkIs,
    Match,
    Offload,
    PacketsAtLeast,
    PortIn,
    ProtocolIs,
    Rule,
    Side,
)
from flowguard.kernel.nftables.expressions import rule_expressions
from flowguard.kernel.nftables.messages import new_rule


def native(number: int) -> str:
    return number.to_bytes(4, sys.byteorder).hex()


def shown(rule: Rule) -> list[str]:
    message = nft.nft_rule_msg(new_rule("t", rule_expressions(rule)).data)
    message.decode()
    return [show(e) for e in message.get_attr("NFTA_RULE_EXPRESSIONS")]


def show(expression: Any) -> str:
    name = expression.get_attr("NFTA_EXPR_NAME")
    if name == "flow_offload":  # pyroute2 cannot decode it and hands out hex digits.
        digits = expression.get_attr("NFTA_EXPR_DATA").replace(":", "")
        return f"flow_offload {bytes.fromhex(digits)[4:].rstrip(bytes(1)).decode()}"
    data = expression.get_attr("NFTA_EXPR_DATA")["attrs"]
    return " ".join([name, *(f"{short(key)}={plain(value)}" for key, value in data)])


def short(key: str) -> str:
    return key.split("_", 2)[2].lower()


def plain(value: Any) -> str:
    """Constants as hex digits, flags and numbers by their names."""
    if hasattr(value, "get_attr"):
        constant = value.get_attr("NFTA_DATA_VALUE")
        if constant is not None:
            return bytes(constant).hex()
        return str(value.get_attr("NFTA_DATA_VERDICT").get_attr("NFTA_VERDICT_CODE"))
    if isinstance(value, frozenset):
        return "|".join(sorted(value))
    return str(value).removeprefix("NFT_")


LOAD = "dreg=REG_1"
SAME = "sreg=REG_1 dreg=REG_1"
LAN1 = b"lan1".ljust(16, b"\0").hex()

MATCHES: list[tuple[Match, list[str]]] = [
    (
        DevicesOutside(Side.SOURCE),
        [
            f"meta key=META_IIFNAME {LOAD}",
            "lookup set=devices sreg=REG_1 flags=NFT_LOOKUP_F_INV",
        ],
    ),
    (
        InterfaceIs(Side.DESTINATION, "lan1"),
        [f"meta key=META_OIFNAME {LOAD}", f"cmp sreg=REG_1 op=CMP_EQ data={LAN1}"],
    ),
    (
        HostOutside(Side.SOURCE, Family.IPV4),
        [
            f"meta key=META_NFPROTO {LOAD}",
            "cmp sreg=REG_1 op=CMP_EQ data=02",
            f"payload {LOAD} base=PAYLOAD_NETWORK_HEADER offset=12 len=4",
            "lookup set=hosts4 sreg=REG_1 flags=NFT_LOOKUP_F_INV",
        ],
    ),
    (
        HostOutside(Side.DESTINATION, Family.IPV6),
        [
            f"meta key=META_NFPROTO {LOAD}",
            "cmp sreg=REG_1 op=CMP_EQ data=0a",
            f"payload {LOAD} base=PAYLOAD_NETWORK_HEADER offset=24 len=16",
            "lookup set=hosts6 sreg=REG_1 flags=NFT_LOOKUP_F_INV",
        ],
    ),
    (
        FamilyIs(Family.IPV6),
        [f"meta key=META_NFPROTO {LOAD}", "cmp sreg=REG_1 op=CMP_EQ data=0a"],
    ),
    (
        ProtocolIs(Protocol.UDP),
        [f"meta key=META_L4PROTO {LOAD}", "cmp sreg=REG_1 op=CMP_EQ data=11"],
    ),
    (
        AddressIn(Side.SOURCE, ip_network("192.0.2.7")),
        [f"ct key=CT_SRC_IP {LOAD} direction=0", "cmp sreg=REG_1 op=CMP_EQ data=c0000207"],
    ),
    (
        AddressIn(Side.DESTINATION, ip_network("2001:db8::/32")),
        [
            f"ct key=CT_DST_IP6 {LOAD} direction=0",
            f"bitwise {SAME} len=16 mask={'ff' * 4 + '00' * 12} xor={'00' * 16}",
            f"cmp sreg=REG_1 op=CMP_EQ data=20010db8{'00' * 12}",
        ],
    ),
    (
        PortIn(Side.DESTINATION, 443, 443),
        [f"ct key=CT_PROTO_DST {LOAD} direction=0", "cmp sreg=REG_1 op=CMP_EQ data=01bb"],
    ),
    (
        PortIn(Side.SOURCE, 1, 1023),
        [
            f"ct key=CT_PROTO_SRC {LOAD} direction=0",
            "cmp sreg=REG_1 op=CMP_GTE data=0001",
            "cmp sreg=REG_1 op=CMP_LTE data=03ff",
        ],
    ),
    (
        DscpIs(Family.IPV4, 46),
        [
            f"meta key=META_NFPROTO {LOAD}",
            "cmp sreg=REG_1 op=CMP_EQ data=02",
            f"payload {LOAD} base=PAYLOAD_NETWORK_HEADER offset=1 len=1",
            f"bitwise {SAME} len=1 mask=fc xor=00",
            "cmp sreg=REG_1 op=CMP_EQ data=b8",
        ],
    ),
    (
        DscpIs(Family.IPV6, 46),
        [
            f"meta key=META_NFPROTO {LOAD}",
            "cmp sreg=REG_1 op=CMP_EQ data=0a",
            f"payload {LOAD} base=PAYLOAD_NETWORK_HEADER offset=0 len=2",
            f"bitwise {SAME} len=2 mask=0fc0 xor=0000",
            "cmp sreg=REG_1 op=CMP_EQ data=0b80",
        ],
    ),
    (
        MarkIs(0xFF00, 0x1200),
        [
            f"ct key=CT_MARK {LOAD}",
            f"bitwise {SAME} len=4 mask={native(0xFF00)} xor={native(0)}",
            f"cmp sreg=REG_1 op=CMP_EQ data={native(0x1200)}",
        ],
    ),
    (
        BucketBelow(Family.IPV4, 0x1234, 0x10000),
        [
            "ct key=CT_SRC_IP dreg=REG32_00 direction=0",
            "ct key=CT_DST_IP dreg=REG32_01 direction=0",
            "ct key=CT_PROTO_SRC dreg=REG32_02 direction=0",
            "ct key=CT_PROTO_DST dreg=REG32_03 direction=0",
            "hash sreg=REG32_00 dreg=REG_1 len=16 modulus=1048576 seed=4660",
            f"byteorder {SAME} op=BYTEORDER_HTON len=4 size=4",
            "cmp sreg=REG_1 op=CMP_LT data=00010000",
        ],
    ),
    (
        BucketBelow(Family.IPV6, 1, 2),
        [
            "ct key=CT_SRC_IP6 dreg=REG32_00 direction=0",
            "ct key=CT_DST_IP6 dreg=REG32_04 direction=0",
            "ct key=CT_PROTO_SRC dreg=REG32_08 direction=0",
            "ct key=CT_PROTO_DST dreg=REG32_09 direction=0",
            "hash sreg=REG32_00 dreg=REG_1 len=40 modulus=1048576 seed=1",
            f"byteorder {SAME} op=BYTEORDER_HTON len=4 size=4",
            "cmp sreg=REG_1 op=CMP_LT data=00000002",
        ],
    ),
    (
        PacketsAtLeast(20),
        [
            f"ct key=CT_PKTS {LOAD}",
            f"byteorder {SAME} op=BYTEORDER_HTON len=8 size=8",
            f"cmp sreg=REG_1 op=CMP_GTE data={'00' * 7}14",
        ],
    ),
]

ACTIONS: list[tuple[Action, list[str]]] = [
    (Offload(), ["flow_offload flows"]),
    (Leave(), ["immediate dreg=REG_VERDICT data=NFT_RETURN"]),
]


@pytest.mark.parametrize(("match", "expected"), MATCHES, ids=lambda v: type(v).__name__)
def test_match(match: Match, expected: list[str]) -> None:
    assert shown(Rule((match,), Leave())) == [*expected, *ACTIONS[1][1]]


@pytest.mark.parametrize(("action", "expected"), ACTIONS, ids=lambda v: type(v).__name__)
def test_action(action: Action, expected: list[str]) -> None:
    assert shown(Rule((), action)) == expected


def test_matches_keep_their_order_before_the_action() -> None:
    rule = Rule((ProtocolIs(Protocol.TCP), MarkIs(1, 0)), Offload())
    assert [line.split()[0] for line in shown(rule)] == [
        "meta",
        "cmp",
        "ct",
        "bitwise",
        "cmp",
        "flow_offload",
    ]
