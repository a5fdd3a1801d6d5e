# SPDX-License-Identifier: GPL-2.0-or-later
"""Connection tuples in words, and back in the form that the kernel reads."""

from __future__ import annotations

import socket
import struct

from flowguard.core.model import FlowTuple
from flowguard.core.records import frozen
from flowguard.kernel.conntrack.numbers import (
    CTA_IP_V4_DST,
    CTA_IP_V4_SRC,
    CTA_IP_V6_DST,
    CTA_IP_V6_SRC,
    CTA_PROTO_DST_PORT,
    CTA_PROTO_NUM,
    CTA_PROTO_SRC_PORT,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
    CTA_TUPLE_ZONE,
    CTA_ZONE,
    GRE,
    TCP,
    UDP,
)
from flowguard.kernel.netlink.codec import NESTED, MalformedMessage, attribute, attributes

PROTOCOLS = {TCP: "tcp", UDP: "udp", GRE: "gre"}
PROTOCOL_NUMBERS = {name: number for number, name in PROTOCOLS.items()}

SHORT = struct.Struct("!H")
OCTET = struct.Struct("B")


@frozen
class Flow:
    """A connection as its two ends see it; NAT is the difference between the directions.

    `zone` is the conntrack zone of both directions, `original_zone` that of the original
    one where it has one of its own; one of the reply's own takes no part in look-ups. The
    same tuples in another zone are another connection.
    """

    original: FlowTuple
    reply: FlowTuple
    zone: int = 0
    original_zone: int = 0


def parse_flow(original: bytes, reply: bytes, zone: int) -> Flow:
    """From the values of both tuples' attributes; raises MalformedMessage."""
    original_tuple, original_zone = _parse_tuple(original)
    return Flow(original_tuple, _parse_tuple(reply)[0], zone, original_zone)


def encode_flow(flow: Flow) -> tuple[int, bytes]:
    """Address family, and the attributes by which the kernel finds the connection."""
    family, original = encode_tuple(CTA_TUPLE_ORIG, flow.original, flow.original_zone)
    return family, original + encode_zone(flow.zone)


def encode_zone(zone: int) -> bytes:
    """The attribute of both directions' zone; nothing for the one that all others are in."""
    return attribute(CTA_ZONE, SHORT.pack(zone)) if zone else b""


def _parse_tuple(value: bytes) -> tuple[FlowTuple, int]:
    parts = {kind: (start, end) for kind, start, end in attributes(value, 0, len(value))}
    source = destination = ""
    for kind, start, end in attributes(value, *parts.get(CTA_TUPLE_IP, (0, 0))):
        if kind in (CTA_IP_V4_SRC, CTA_IP_V6_SRC):
            source = _address(value[start:end])
        elif kind in (CTA_IP_V4_DST, CTA_IP_V6_DST):
            destination = _address(value[start:end])
    numbers = {CTA_PROTO_NUM: 0, CTA_PROTO_SRC_PORT: 0, CTA_PROTO_DST_PORT: 0}
    for kind, start, end in attributes(value, *parts.get(CTA_TUPLE_PROTO, (0, 0))):
        if kind in numbers:
            form = OCTET if kind == CTA_PROTO_NUM else SHORT
            numbers[kind] = _number(form, value, start, end)
    protocol = numbers[CTA_PROTO_NUM]
    found = FlowTuple(
        PROTOCOLS.get(protocol, str(protocol)),
        source,
        destination,
        numbers[CTA_PROTO_SRC_PORT],
        numbers[CTA_PROTO_DST_PORT],
    )
    zone = parts.get(CTA_TUPLE_ZONE)
    return found, _number(SHORT, value, *zone) if zone else 0


def encode_tuple(kind: int, flow: FlowTuple, zone: int = 0) -> tuple[int, bytes]:
    """Address family and attribute of one direction, with a zone of its own."""
    family = socket.AF_INET6 if ":" in flow.source else socket.AF_INET
    source = CTA_IP_V6_SRC if family == socket.AF_INET6 else CTA_IP_V4_SRC
    protocol = PROTOCOL_NUMBERS.get(flow.protocol) or int(flow.protocol)
    addresses = attribute(source, socket.inet_pton(family, flow.source)) + attribute(
        source + 1, socket.inet_pton(family, flow.destination)
    )
    ports = (
        attribute(CTA_PROTO_NUM, bytes((protocol,)))
        + attribute(CTA_PROTO_SRC_PORT, SHORT.pack(flow.source_port))
        + attribute(CTA_PROTO_DST_PORT, SHORT.pack(flow.destination_port))
    )
    body = attribute(CTA_TUPLE_IP | NESTED, addresses) + attribute(CTA_TUPLE_PROTO | NESTED, ports)
    if zone:
        body += attribute(CTA_TUPLE_ZONE, SHORT.pack(zone))
    return family, attribute(kind | NESTED, body)


def _number(form: struct.Struct, value: bytes, start: int, end: int) -> int:
    if end - start != form.size:
        raise MalformedMessage(f"number of {end - start} bytes")
    return int(form.unpack_from(value, start)[0])


def _address(packed: bytes) -> str:
    family = {4: socket.AF_INET, 16: socket.AF_INET6}.get(len(packed))
    if family is None:
        raise MalformedMessage(f"address of {len(packed)} bytes")
    return socket.inet_ntop(family, packed)
