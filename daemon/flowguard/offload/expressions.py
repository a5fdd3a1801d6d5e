# SPDX-License-Identifier: GPL-2.0-or-later
"""core.plan's matches and actions as nf_tables expressions.

Addresses and ports are those of the connection's original direction, so that an exclusion
holds for the packets of both directions. Registers hold conntrack marks and states in the
machine's byte order, everything from headers in network order.
"""

from __future__ import annotations

import struct
from typing import Any, assert_never

from flowguard.core.plan import (
    Action,
    AddressIn,
    DevicesOutside,
    DscpIs,
    Family,
    FamilyIs,
    InterfaceIs,
    Leave,
    MarkIs,
    Match,
    NewConnection,
    Offload,
    OneIn,
    PortIn,
    Protocol,
    ProtocolIs,
    Rule,
    SetMark,
    Side,
)
from flowguard.offload.messages import DEVICE_SET, FLOWTABLE, Expression, padded_name, value

REGISTER = 1
META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 6, 7, 15, 16
INTERFACE_KEY = {Side.SOURCE: META_IIFNAME, Side.DESTINATION: META_OIFNAME}
FAMILY_NUMBER = {Family.IPV4: 2, Family.IPV6: 10}
PROTOCOL_NUMBER = {Protocol.TCP: 6, Protocol.UDP: 17}
CT_STATE, CT_MARK = 0, 3
CT_PORT = {Side.SOURCE: 11, Side.DESTINATION: 12}
CT_ADDRESS = {
    (4, Side.SOURCE): 0x13,
    (4, Side.DESTINATION): 0x14,
    (6, Side.SOURCE): 0x15,
    (6, Side.DESTINATION): 0x16,
}
ORIGINAL = 0
STATE_NEW = 8
NETWORK_HEADER = 1
EQUAL, NOT_EQUAL, AT_MOST, AT_LEAST = 0, 1, 3, 5
RANDOM = 1
RETURN = -5


def rule_expressions(rule: Rule) -> list[Expression]:
    """The expressions of a whole rule: its matches in order, then its action."""
    matches = [expression for match in rule.matches for expression in _match(match)]
    return [*matches, *_action(rule.action)]


def _match(wanted: Match) -> list[Expression]:
    match wanted:
        case DevicesOutside(side):
            return [_meta(INTERFACE_KEY[side]), _not_in_device_set()]
        case InterfaceIs(side, name):
            return [_meta(INTERFACE_KEY[side]), _compare(EQUAL, padded_name(name))]
        case FamilyIs(family):
            return [_meta(META_NFPROTO), _compare(EQUAL, bytes((FAMILY_NUMBER[family],)))]
        case ProtocolIs(protocol):
            return [_meta(META_L4PROTO), _compare(EQUAL, bytes((PROTOCOL_NUMBER[protocol],)))]
        case AddressIn(side, network):
            key = CT_ADDRESS[network.version, side]
            equal = _compare(EQUAL, network.network_address.packed)
            if network.prefixlen == network.max_prefixlen:
                return [_conntrack(key, ORIGINAL), equal]
            return [_conntrack(key, ORIGINAL), _mask(network.netmask.packed), equal]
        case PortIn(side, first, last):
            return [_conntrack(CT_PORT[side], ORIGINAL), *_port_range(first, last)]
        case DscpIs(family, dscp):
            return [*_match(FamilyIs(family)), *_dscp(family, dscp)]
        case MarkIs(mask, mark):
            return [_conntrack(CT_MARK), _mask(_native(mask)), _compare(EQUAL, _native(mark))]
        case NewConnection():
            new = _mask(_native(STATE_NEW))
            return [_conntrack(CT_STATE), new, _compare(NOT_EQUAL, _native(0))]
        case OneIn(count):
            return [_random_below(count), _compare(EQUAL, _native(0))]
        case _:
            assert_never(wanted)


def _action(action: Action) -> list[Expression]:
    match action:
        case Offload():
            return [_expression("flow_offload", ("NFTA_FLOW_TABLE_NAME", FLOWTABLE))]
        case SetMark(bits):
            keep = _mask(_native(~bits & 0xFFFFFFFF), xor=_native(bits))
            return [_conntrack(CT_MARK), keep, _set_mark()]
        case Leave():
            verdict = {"attrs": [("NFTA_VERDICT_CODE", RETURN)]}
            return [
                _expression(
                    "immediate",
                    ("NFTA_IMMEDIATE_DREG", 0),
                    ("NFTA_IMMEDIATE_DATA", {"attrs": [("NFTA_DATA_VERDICT", verdict)]}),
                )
            ]
        case _:
            assert_never(action)


def _port_range(first: int, last: int) -> list[Expression]:
    if first == last:
        return [_compare(EQUAL, struct.pack("!H", first))]
    return [
        _compare(AT_LEAST, struct.pack("!H", first)),
        _compare(AT_MOST, struct.pack("!H", last)),
    ]


def _dscp(family: Family, dscp: int) -> list[Expression]:
    """RFC 2474: the upper six bits of the IPv4 TOS byte, or of the IPv6 traffic class."""
    if family is Family.IPV4:
        field, mask, wanted = _network_header(1, 1), b"\xfc", bytes((dscp << 2,))
    else:
        field, mask, wanted = _network_header(0, 2), b"\x0f\xc0", struct.pack("!H", dscp << 6)
    return [field, _mask(mask), _compare(EQUAL, wanted)]


def _expression(name: str, *attributes: tuple[str, Any]) -> Expression:
    return {
        "attrs": [
            ("NFTA_EXPR_NAME", name),
            ("NFTA_EXPR_DATA", {"attrs": list(attributes)}),
        ]
    }


def _meta(key: int) -> Expression:
    return _expression("meta", ("NFTA_META_KEY", key), ("NFTA_META_DREG", REGISTER))


def _conntrack(key: int, direction: int | None = None) -> Expression:
    attributes = [("NFTA_CT_KEY", key), ("NFTA_CT_DREG", REGISTER)]
    if direction is not None:
        attributes.append(("NFTA_CT_DIRECTION", direction))
    return _expression("ct", *attributes)


def _set_mark() -> Expression:
    return _expression("ct", ("NFTA_CT_KEY", CT_MARK), ("NFTA_CT_SREG", REGISTER))


def _network_header(offset: int, length: int) -> Expression:
    return _expression(
        "payload",
        ("NFTA_PAYLOAD_DREG", REGISTER),
        ("NFTA_PAYLOAD_BASE", NETWORK_HEADER),
        ("NFTA_PAYLOAD_OFFSET", offset),
        ("NFTA_PAYLOAD_LEN", length),
    )


def _compare(operator: int, data: bytes) -> Expression:
    return _expression(
        "cmp",
        ("NFTA_CMP_SREG", REGISTER),
        ("NFTA_CMP_OP", operator),
        ("NFTA_CMP_DATA", value(data)),
    )


def _mask(mask: bytes, xor: bytes | None = None) -> Expression:
    return _expression(
        "bitwise",
        ("NFTA_BITWISE_SREG", REGISTER),
        ("NFTA_BITWISE_DREG", REGISTER),
        ("NFTA_BITWISE_LEN", len(mask)),
        ("NFTA_BITWISE_MASK", value(mask)),
        ("NFTA_BITWISE_XOR", value(xor or bytes(len(mask)))),
    )


def _not_in_device_set() -> Expression:
    return _expression(
        "lookup",
        ("NFTA_LOOKUP_SET", DEVICE_SET),
        ("NFTA_LOOKUP_SREG", REGISTER),
        ("NFTA_LOOKUP_FLAGS", frozenset({"NFT_LOOKUP_F_INV"})),
    )


def _random_below(count: int) -> Expression:
    return _expression(
        "numgen",
        ("NFTA_NG_DREG", REGISTER),
        ("NFTA_NG_MODULUS", count),
        ("NFTA_NG_TYPE", RANDOM),
        ("NFTA_NG_OFFSET", 0),
    )


def _native(number: int) -> bytes:
    return struct.pack("=I", number)
