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
from flowguard.core.records import replace
from flowguard.kernel.conntrack import (
    HW_OFFLOAD,
    IN_HARDWARE,
    IN_SOFTWARE,
    OFFLOAD,
    Entry,
    Filter,
    Flow,
)
from flowguard.kernel.conntrack.entry import matching, parse
from flowguard.kernel.netlink.codec import NESTED, MalformedMessage, attribute

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
    return [entry.flow() for entry in matching(parse(buffer).entries, wanted)]


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


COUNTERS = {1: "!Q", 2: "!Q", 3: "!I", 4: "!I"}
COUNTERS_PAD = attribute(5, b"")


def counters(kind: int, packets: int, octets: int, wide: bool, padded: bool) -> bytes:
    """CTA_COUNTERS_*; some architectures align 64-bit values with an empty attribute."""
    pad = COUNTERS_PAD if padded else b""
    first = 1 if wide else 3
    body = b"".join(
        pad + attribute(first + n, struct.pack(COUNTERS[first + n], value))
        for n, value in enumerate((packets, octets))
    )
    return attribute(kind | NESTED, body)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def as_message(body: bytes) -> bytes:
    body = struct.pack("!BBH", IPV4, 0, 0) + body
    return struct.pack("=IHHII", 16 + len(body), 0x100, 2, 1, 0) + body


def attributes_of(entry: Entry, flow: Flow, wide: bool, padded: bool) -> list[bytes]:
    """The attributes of a message that shows the entry."""
    parts = [encoded_tuple(1, flow.original), encoded_tuple(2, flow.reply)]
    parts += [number(3, entry.status), number(12, entry.id)]
    if entry.mark:
        parts.append(number(8, entry.mark))
    if entry.zone:
        parts.append(attribute(18, struct.pack("!H", entry.zone)))
    if entry.timeout is not None:
        parts.append(number(7, entry.timeout))
    if entry.tcp_state is not None:
        inside = attribute(1, bytes((entry.tcp_state,))) + attribute(4, b"\0\0")
        parts.append(attribute(4 | NESTED, attribute(1 | NESTED, inside)))
    if entry.counted:
        original = entry.original_packets, entry.original_bytes
        parts.append(counters(9, *original, wide, padded))
        parts.append(counters(10, entry.reply_packets, entry.reply_bytes, wide, padded))
    return parts


@st.composite
def shown(draw: st.DrawFn) -> tuple[Entry, Flow, bytes]:
    """An entry, its flow, and a message that shows it, in any order and with unknown parts."""
    flow = draw(flows)
    wide, counted = draw(st.booleans()), draw(st.booleans())
    counter = st.integers(0, (1 << (64 if wide else 32)) - 1) if counted else st.just(0)
    entry = Entry(
        draw(numbers),
        draw(numbers),
        draw(numbers),
        PROTOCOLS[flow.original.protocol],
        draw(counter),
        draw(counter),
        draw(counter),
        draw(counter),
        counted,
        draw(st.none() | st.integers(0, 255)),
        draw(st.none() | numbers),
        encoded_tuple(1, flow.original)[4:],
        encoded_tuple(2, flow.reply)[4:],
        draw(st.integers(0, 0xFFFF)),
    )
    parts = attributes_of(entry, flow, wide, draw(st.booleans()))
    unknown = st.builds(attribute, st.integers(30, 200), st.binary(max_size=9))
    parts += draw(st.lists(unknown, max_size=3))
    flow = replace(flow, zone=entry.zone)
    return entry, flow, as_message(b"".join(draw(st.permutations(parts))))


@given(st.lists(shown(), max_size=4))
def test_every_field_is_read(expected: list[tuple[Entry, Flow, bytes]]) -> None:
    read_entries = parse(b"".join(data for _, _, data in expected)).entries
    assert read_entries == [entry for entry, _, _ in expected]
    assert [entry.flow() for entry in read_entries] == [flow for _, flow, _ in expected]


@given(flows, numbers, numbers)
def test_messages_of_one_layout_keep_their_own_values(flow: Flow, one: int, other: int) -> None:
    both = parse(message(flow, one, one) + message(flow, other, other)).entries
    assert [(entry.status, entry.mark) for entry in both] == [(one, one), (other, other)]


def test_same_length_in_another_layout_is_read_as_what_it_is() -> None:
    """Where one message has its mark the other has its timeout."""
    mark, timeout = as_message(number(8, 5)), as_message(number(7, 5))
    read_entries = parse(mark + timeout + mark).entries
    assert [(e.mark, e.timeout) for e in read_entries] == [(5, None), (0, 5), (5, None)]


def test_protocols_of_one_layout_are_told_apart() -> None:
    other = FlowTuple("udp", "192.0.2.1", "198.51.100.2", 1024, 443)
    udp = Flow(other, FLOW.reply)
    assert [e.protocol for e in parse(message(FLOW) + message(udp) + message(FLOW)).entries] == [
        6,
        17,
        6,
    ]


def test_more_layouts_than_are_remembered() -> None:
    messages = [as_message(number(kind, kind) + number(3, kind)) for kind in range(100, 140)]
    for _ in range(2):
        assert [e.status for e in parse(b"".join(messages)).entries] == list(range(100, 140))


def test_message_with_nothing_is_an_entry_without_tuples() -> None:
    (entry,) = parse(as_message(b"")).entries
    assert (entry.id, entry.mark, entry.counted, entry.tcp_state) == (0, 0, False, None)
    with pytest.raises(MalformedMessage):
        entry.flow()


@given(shown(), st.data())
def test_datagram_cut_anywhere_is_malformed(
    what: tuple[Entry, Flow, bytes], data: st.DataObject
) -> None:
    buffer = what[2]
    cut = data.draw(st.integers(1, len(buffer) - 1))
    with pytest.raises(MalformedMessage):
        parse(buffer[:cut])


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_attributes_are_entries_or_malformed(body: bytes) -> None:
    with suppress(MalformedMessage):
        for entry in parse(as_message(body)).entries:
            entry.flow()


def test_the_end_of_a_dump_is_found_behind_its_last_connections() -> None:
    end = struct.pack("=IHHIIi", 20, 3, 0x12, 1, 0, 0)
    datagram = parse(message(FLOW) + end)
    assert len(datagram.entries) == 1
    assert (datagram.rest, datagram.flags) == (len(message(FLOW)), 0x12)


def test_status_bits_are_the_kernels() -> None:
    """IPS_OFFLOAD_BIT 14 and IPS_HW_OFFLOAD_BIT 15 of nf_conntrack_common.h."""
    assert (OFFLOAD, HW_OFFLOAD) == (0x4000, 0x8000)
