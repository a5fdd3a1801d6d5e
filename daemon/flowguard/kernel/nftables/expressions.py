# SPDX-License-Identifier: GPL-2.0-or-later
"""core.plan's matches and actions as nf_tables expressions.

Addresses and ports are those of the connection's original direction, so that an exclusion
holds for the packets of both directions. Registers hold conntrack marks and states in the
machine's byte order, everything from headers in network order.

Packed by hand: pyroute2 has no working flow expression and takes milliseconds a rule.
Attributes: include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import assert_never

from flowguard.core.arms.draw import BUCKETS
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
from flowguard.kernel.netlink.codec import NESTED, attribute
from flowguard.kernel.nftables.names import DEVICE_SET, FLOWTABLE, HOST_SETS, padded_name


class Nfta(IntEnum):
    """NFTA_* attribute types."""

    LIST_ELEM = 1
    EXPR_NAME = 1
    EXPR_DATA = 2
    DATA_VALUE = 1
    DATA_VERDICT = 2
    VERDICT_CODE = 1
    META_DREG = 1
    META_KEY = 2
    CT_DREG = 1
    CT_KEY = 2
    CT_DIRECTION = 3
    PAYLOAD_DREG = 1
    PAYLOAD_BASE = 2
    PAYLOAD_OFFSET = 3
    PAYLOAD_LEN = 4
    CMP_SREG = 1
    CMP_OP = 2
    CMP_DATA = 3
    BITWISE_SREG = 1
    BITWISE_DREG = 2
    BITWISE_LEN = 3
    BITWISE_MASK = 4
    BITWISE_XOR = 5
    LOOKUP_SET = 1
    LOOKUP_SREG = 2
    LOOKUP_FLAGS = 5
    HASH_SREG = 1
    HASH_DREG = 2
    HASH_LEN = 3
    HASH_MODULUS = 4
    HASH_SEED = 5
    BYTEORDER_SREG = 1
    BYTEORDER_DREG = 2
    BYTEORDER_OP = 3
    BYTEORDER_LEN = 4
    BYTEORDER_SIZE = 5
    IMMEDIATE_DREG = 1
    IMMEDIATE_DATA = 2
    FLOW_TABLE_NAME = 1


VERDICT_REGISTER = 0
REGISTER = 1
# NFT_REG32_00: the first of sixteen registers of four bytes each, which lie in a row.
SMALL_REGISTER, SMALL_REGISTER_SIZE = 8, 4
META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 6, 7, 15, 16
INTERFACE_KEY = {Side.SOURCE: META_IIFNAME, Side.DESTINATION: META_OIFNAME}
FAMILY_NUMBER = {Family.IPV4: 2, Family.IPV6: 10}
PROTOCOL_NUMBER = {Protocol.TCP: 6, Protocol.UDP: 17}
CT_MARK, CT_PACKETS = 3, 14
CT_PORT = {Side.SOURCE: 11, Side.DESTINATION: 12}
CT_ADDRESS = {
    (4, Side.SOURCE): 0x13,
    (4, Side.DESTINATION): 0x14,
    (6, Side.SOURCE): 0x15,
    (6, Side.DESTINATION): 0x16,
}
# Offset and length in the header, in bytes (RFC 791, RFC 8200).
ADDRESS_FIELD = {
    (Family.IPV4, Side.SOURCE): (12, 4),
    (Family.IPV4, Side.DESTINATION): (16, 4),
    (Family.IPV6, Side.SOURCE): (8, 16),
    (Family.IPV6, Side.DESTINATION): (24, 16),
}
ORIGINAL = 0
NETWORK_HEADER = 1
EQUAL, LESS, AT_MOST, AT_LEAST = 0, 2, 3, 5
INVERTED = 1
HOST_TO_NETWORK = 1
RETURN = -5


def rule_expressions(rule: Rule) -> bytes:
    """The list of a whole rule's expressions: its matches in order, then its action."""
    matches = [expression for match in rule.matches for expression in _match(match)]
    return b"".join([*matches, *_action(rule.action)])


def _match(wanted: Match) -> list[bytes]:
    match wanted:
        case DevicesOutside(side):
            return [_meta(INTERFACE_KEY[side]), _not_in(DEVICE_SET)]
        case InterfaceIs(side, name):
            return [_meta(INTERFACE_KEY[side]), _compare(EQUAL, padded_name(name))]
        case HostOutside(side, family):
            address = _network_header(*ADDRESS_FIELD[family, side])
            return [*_match(FamilyIs(family)), address, _not_in(HOST_SETS[family])]
        case FamilyIs(family):
            return [_meta(META_NFPROTO), _compare(EQUAL, bytes((FAMILY_NUMBER[family],)))]
        case ProtocolIs(protocol):
            return [_meta(META_L4PROTO), _compare(EQUAL, bytes((PROTOCOL_NUMBER[protocol],)))]
        case AddressIn(side, network):
            key = CT_ADDRESS[network.version, side]
            equal = _compare(EQUAL, network.network_address.packed)
            if network.prefixlen == network.max_prefixlen:
                return [_original(key), equal]
            return [_original(key), _mask(network.netmask.packed), equal]
        case PortIn(side, first, last):
            return [_original(CT_PORT[side]), *_port_range(first, last)]
        case DscpIs(family, dscp):
            return [*_match(FamilyIs(family)), *_dscp(family, dscp)]
        case MarkIs(mask, mark):
            return [_conntrack(CT_MARK), _mask(_native(mask)), _compare(EQUAL, _native(mark))]
        case BucketBelow(family, seed, limit):
            return [*_bucket(family, seed), _compare(LESS, struct.pack("!I", limit))]
        case PacketsAtLeast(count):
            # Without a direction the kernel adds both.
            least = _compare(AT_LEAST, struct.pack("!Q", count))
            return [_conntrack(CT_PACKETS), _to_network_order(8), least]
        case _:
            assert_never(wanted)


def _action(action: Action) -> list[bytes]:
    match action:
        case Offload():
            return [_expression("flow_offload", _text(Nfta.FLOW_TABLE_NAME, FLOWTABLE))]
        case Leave():
            return [_verdict(RETURN)]
        case _:
            assert_never(action)


def _bucket(family: Family, seed: int) -> list[bytes]:
    """Original addresses and ports in a row of registers, hashed into the first one.

    A port fills the first half of its register, the kernel clears the other one. A connection
    of the other family has no such addresses, and that ends the rule.
    """
    version, size = (4, 4) if family is Family.IPV4 else (6, 16)
    ports = SMALL_REGISTER + 2 * size // SMALL_REGISTER_SIZE
    return [
        _original(CT_ADDRESS[version, Side.SOURCE], SMALL_REGISTER),
        _original(
            CT_ADDRESS[version, Side.DESTINATION], SMALL_REGISTER + size // SMALL_REGISTER_SIZE
        ),
        _original(CT_PORT[Side.SOURCE], ports),
        _original(CT_PORT[Side.DESTINATION], ports + 1),
        _expression(
            "hash",
            _number(Nfta.HASH_SREG, SMALL_REGISTER),
            _number(Nfta.HASH_DREG, REGISTER),
            _number(Nfta.HASH_LEN, 2 * size + 2 * SMALL_REGISTER_SIZE),
            _number(Nfta.HASH_MODULUS, BUCKETS),
            _number(Nfta.HASH_SEED, seed),
        ),
        # Numbers are compared byte by byte.
        _to_network_order(4),
    ]


def _port_range(first: int, last: int) -> list[bytes]:
    if first == last:
        return [_compare(EQUAL, struct.pack("!H", first))]
    return [
        _compare(AT_LEAST, struct.pack("!H", first)),
        _compare(AT_MOST, struct.pack("!H", last)),
    ]


def _dscp(family: Family, dscp: int) -> list[bytes]:
    """RFC 2474: the upper six bits of the IPv4 TOS byte, or of the IPv6 traffic class."""
    if family is Family.IPV4:
        field, mask, wanted = _network_header(1, 1), b"\xfc", bytes((dscp << 2,))
    else:
        field, mask, wanted = _network_header(0, 2), b"\x0f\xc0", struct.pack("!H", dscp << 6)
    return [field, _mask(mask), _compare(EQUAL, wanted)]


def _expression(name: str, *attributes: bytes) -> bytes:
    named = _text(Nfta.EXPR_NAME, name)
    data = attribute(Nfta.EXPR_DATA | NESTED, b"".join(attributes))
    return attribute(Nfta.LIST_ELEM | NESTED, named + data)


def _meta(key: int) -> bytes:
    return _expression("meta", _number(Nfta.META_KEY, key), _number(Nfta.META_DREG, REGISTER))


def _conntrack(key: int) -> bytes:
    return _expression("ct", _number(Nfta.CT_KEY, key), _number(Nfta.CT_DREG, REGISTER))


def _original(key: int, register: int = REGISTER) -> bytes:
    return _expression(
        "ct",
        _number(Nfta.CT_KEY, key),
        _number(Nfta.CT_DREG, register),
        attribute(Nfta.CT_DIRECTION, bytes((ORIGINAL,))),
    )


def _network_header(offset: int, length: int) -> bytes:
    return _expression(
        "payload",
        _number(Nfta.PAYLOAD_DREG, REGISTER),
        _number(Nfta.PAYLOAD_BASE, NETWORK_HEADER),
        _number(Nfta.PAYLOAD_OFFSET, offset),
        _number(Nfta.PAYLOAD_LEN, length),
    )


def _compare(operator: int, data: bytes) -> bytes:
    return _expression(
        "cmp",
        _number(Nfta.CMP_SREG, REGISTER),
        _number(Nfta.CMP_OP, operator),
        _value(Nfta.CMP_DATA, data),
    )


def _mask(mask: bytes, xor: bytes | None = None) -> bytes:
    return _expression(
        "bitwise",
        _number(Nfta.BITWISE_SREG, REGISTER),
        _number(Nfta.BITWISE_DREG, REGISTER),
        _number(Nfta.BITWISE_LEN, len(mask)),
        _value(Nfta.BITWISE_MASK, mask),
        _value(Nfta.BITWISE_XOR, xor or bytes(len(mask))),
    )


def _not_in(set_name: str) -> bytes:
    return _expression(
        "lookup",
        _text(Nfta.LOOKUP_SET, set_name),
        _number(Nfta.LOOKUP_SREG, REGISTER),
        _number(Nfta.LOOKUP_FLAGS, INVERTED),
    )


def _to_network_order(length: int) -> bytes:
    return _expression(
        "byteorder",
        _number(Nfta.BYTEORDER_SREG, REGISTER),
        _number(Nfta.BYTEORDER_DREG, REGISTER),
        _number(Nfta.BYTEORDER_OP, HOST_TO_NETWORK),
        _number(Nfta.BYTEORDER_LEN, length),
        _number(Nfta.BYTEORDER_SIZE, length),
    )


def _verdict(code: int) -> bytes:
    verdict = attribute(Nfta.VERDICT_CODE, struct.pack("!i", code))
    return _expression(
        "immediate",
        _number(Nfta.IMMEDIATE_DREG, VERDICT_REGISTER),
        attribute(Nfta.IMMEDIATE_DATA | NESTED, attribute(Nfta.DATA_VERDICT | NESTED, verdict)),
    )


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _number(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack("!I", number))


def _value(kind: int, data: bytes) -> bytes:
    return attribute(kind | NESTED, attribute(Nfta.DATA_VALUE, data))


def _native(number: int) -> bytes:
    return struct.pack("=I", number)
