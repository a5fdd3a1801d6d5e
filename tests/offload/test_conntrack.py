# SPDX-License-Identifier: GPL-2.0-or-later
"""The conntrack reader on messages built here, as the kernel would lay them out."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowguard.core.model import FlowTuple
from flowguard.offload.conntrack import (
    HW_OFFLOAD,
    IN_HARDWARE,
    IN_SOFTWARE,
    OFFLOAD,
    Filter,
    Flow,
    entries,
    matches_filter,
    parse_flow,
)
from flowguard.offload.nfnetlink import NESTED, MalformedMessage, attribute

IPV4, IPV6 = 2, 10
PROTOCOLS = {"tcp": 6, "udp": 17}

ports = st.integers(0, 65535)
protocols = st.sampled_from(sorted(PROTOCOLS))
numbers = st.integers(0, 0xFFFFFFFF)


def tuples(version: Literal[4, 6]) -> st.SearchStrategy[FlowTuple]:
    addresses = st.ip_addresses(v=version).map(shortest)
    return st.builds(FlowTuple, protocols, addresses, addresses, ports, ports)


def shortest(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As inet_ntop(3) writes it, which differs from ipaddress for IPv4 inside IPv6."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address.packed)


flows = st.builds(Flow, tuples(4), tuples(4)) | st.builds(Flow, tuples(6), tuples(6))


def encoded_tuple(kind: int, flow: FlowTuple) -> bytes:
    source = ipaddress.ip_address(flow.source)
    destination = ipaddress.ip_address(flow.destination)
    first = 1 if source.version == 4 else 3
    addresses = attribute(first, source.packed) + attribute(first + 1, destination.packed)
    protocol = attribute(1, bytes((PROTOCOLS[flow.protocol],)))
    protocol += attribute(2, struct.pack("!H", flow.source_port))
    protocol += attribute(3, struct.pack("!H", flow.destination_port))
    body = attribute(1 | NESTED, addresses) + attribute(2 | NESTED, protocol)
    return attribute(kind | NESTED, body)


def message(flow: Flow, status: int = 0, mark: int | None = None) -> bytes:
    body = struct.pack("!BBH", IPV4, 0, 0)
    body += encoded_tuple(1, flow.original) + encoded_tuple(2, flow.reply)
    body += attribute(3, struct.pack("!I", status))
    body += b"" if mark is None else attribute(8, struct.pack("!I", mark))
    return struct.pack("=IHHII", 16 + len(body), 0x100, 2, 1, 0) + body


def read(buffer: bytes, wanted: Filter) -> list[Flow]:
    return [
        parse_flow(buffer, start, end)
        for start, end in entries(buffer)
        if matches_filter(buffer, start, end, wanted)
    ]


@given(st.lists(flows, max_size=5))
def test_every_flow_of_a_datagram_is_read(expected: list[Flow]) -> None:
    assert read(b"".join(message(flow) for flow in expected), Filter()) == expected


@given(flows, numbers, numbers, numbers, numbers)
def test_filter_compares_the_masked_bits(
    flow: Flow, status: int, mark: int, status_mask: int, mark_mask: int
) -> None:
    same = Filter(status & status_mask, status_mask, mark & mark_mask, mark_mask)
    buffer = message(flow, status, mark)
    assert read(buffer, same) == [flow]
    for bit in (1 << n for n in range(32)):
        if status_mask & bit:
            other = Filter(same.status ^ bit, status_mask, same.mark, mark_mask)
            assert read(buffer, other) == []
        if mark_mask & bit:
            other = Filter(same.status, status_mask, same.mark ^ bit, mark_mask)
            assert read(buffer, other) == []


FLOW = Flow(
    FlowTuple("tcp", "192.0.2.1", "198.51.100.2", 1024, 443),
    FlowTuple("tcp", "198.51.100.2", "203.0.113.3", 443, 1024),
)


@pytest.mark.parametrize(
    ("status", "hardware", "software"),
    [(0, 0, 0), (OFFLOAD, 0, 1), (OFFLOAD | HW_OFFLOAD, 1, 0), (HW_OFFLOAD, 1, 0)],
)
def test_places(status: int, hardware: int, software: int) -> None:
    buffer = message(FLOW, status)
    assert len(read(buffer, IN_HARDWARE)) == hardware
    assert len(read(buffer, IN_SOFTWARE)) == software


def test_absent_mark_is_zero() -> None:
    assert read(message(FLOW), Filter(mark=0, mark_mask=0xFF)) == [FLOW]


@settings(max_examples=500)
@given(flows, st.data())
def test_damaged_messages_are_malformed_and_nothing_else(flow: Flow, data: st.DataObject) -> None:
    buffer = bytearray(message(flow, OFFLOAD, 1))
    for _ in range(data.draw(st.integers(1, 4))):
        buffer[data.draw(st.integers(0, len(buffer) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(buffer)))
    with suppress(MalformedMessage):
        read(bytes(buffer[:cut]), Filter())


@given(flows)
def test_truncated_message_is_malformed(flow: Flow) -> None:
    with pytest.raises(MalformedMessage):
        read(message(flow)[:-4], Filter())


def with_attribute(kind: int, value: bytes) -> bytes:
    """FLOW with one more attribute; its place in the message does not matter."""
    data = message(FLOW) + attribute(kind, value)
    return len(data).to_bytes(4, sys.byteorder) + data[4:]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (3, b"\0\0"),
        (8, b"\0" * 8),
        (1, attribute(1 | NESTED, attribute(1, b"\1\2\3"))),
        (1, attribute(2 | NESTED, attribute(2, b"\0"))),
    ],
    ids=["status", "mark", "address", "port"],
)
def test_value_of_wrong_size_is_malformed(kind: int, value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read(with_attribute(kind, value), Filter())


def test_status_bits_are_the_kernels() -> None:
    """IPS_OFFLOAD_BIT 14 and IPS_HW_OFFLOAD_BIT 15 of nf_conntrack_common.h."""
    assert (OFFLOAD, HW_OFFLOAD) == (0x4000, 0x8000)
