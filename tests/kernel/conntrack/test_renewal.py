# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection that is made anew is the same one, with its NAT and its mark."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from flowguard.core.model import FlowTuple
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry
from flowguard.kernel.conntrack.flow import encode_tuple, parse_flow
from flowguard.kernel.conntrack.numbers import DELETE, NEW
from flowguard.kernel.conntrack.renewal import renewal
from flowguard.kernel.netlink.codec import HEADER, NFGEN, attributes

ORIGINAL, REPLY, STATUS, PROTOCOL, SOURCE_NAT, TIMEOUT, MARK, DESTINATION_NAT = (
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    13,
)
HERE = FlowTuple("tcp", "192.168.1.2", "203.0.113.1", 5000, 443)
BACK = FlowTuple("tcp", "203.0.113.1", "192.168.1.2", 443, 5000)


def entry(original: FlowTuple, reply: FlowTuple, protocol: int = 6, status: int = 0xE) -> Entry:
    key, reply_key = (encode_tuple(kind, t)[1][4:] for kind, t in ((1, original), (2, reply)))
    status |= OFFLOAD | HW_OFFLOAD
    return Entry(7, status, 0x42, protocol, 4, 400, 3, 300, True, None, None, key, reply_key)


def made(given: Entry) -> dict[int, bytes]:
    """The attributes of the second request."""
    gone, new = renewal(given)
    assert gone[4] == DELETE and new[4] == NEW
    start = HEADER.size + NFGEN.size
    return {kind: new[first:last] for kind, first, last in attributes(new, start, len(new))}


def inside(value: bytes) -> dict[int, Any]:
    return {kind: value[first:last] for kind, first, last in attributes(value, 0, len(value))}


def number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def test_a_routed_connection_has_its_two_directions_and_no_nat() -> None:
    found = made(entry(HERE, BACK))
    flow = parse_flow(found[ORIGINAL], found[REPLY], 0)
    assert (flow.original, flow.reply) == (HERE, BACK)
    assert not {SOURCE_NAT, DESTINATION_NAT} & found.keys()


def test_status_and_mark_are_kept_but_not_where_it_was() -> None:
    found = made(entry(HERE, BACK))
    assert (number(found[STATUS]), number(found[MARK])) == (0xE, 0x42)
    assert number(made(entry(HERE, BACK, status=0x8))[STATUS]) == 0x8


def test_the_masquerading_address_and_port_are_asked_for_again() -> None:
    found = made(entry(HERE, FlowTuple("tcp", "203.0.113.1", "203.0.113.2", 443, 6000)))
    # The reply as it would be without NAT, which the kernel then applies.
    assert parse_flow(found[ORIGINAL], found[REPLY], 0).reply == BACK
    nat = inside(found[SOURCE_NAT])
    own = socket.inet_aton("203.0.113.2")
    ports = inside(nat[3])
    assert (nat[1], nat[2], number(ports[1]), number(ports[2])) == (own, own, 6000, 6000)
    assert DESTINATION_NAT not in found


@pytest.mark.parametrize(("near", "least"), [("192.168.1.2", 1), ("2001:db8::2", 4)])
def test_a_port_forward_leads_to_the_same_host(near: str, least: int) -> None:
    far, own = ("203.0.113.1", "203.0.113.2") if least == 1 else ("2001:db8:f::1", "2001:db8:f::2")
    original = FlowTuple("udp", far, own, 5000, 8000)
    found = made(entry(original, FlowTuple("udp", near, far, 7000, 5000), protocol=17))
    nat = inside(found[DESTINATION_NAT])
    family = socket.AF_INET if least == 1 else socket.AF_INET6
    assert socket.inet_ntop(family, nat[least]) == near
    assert number(inside(nat[3])[1]) == 7000
    assert SOURCE_NAT not in found


def test_tcp_is_established_and_its_windows_are_not_judged() -> None:
    tcp = inside(inside(made(entry(HERE, BACK))[PROTOCOL])[1])
    assert number(tcp[1]) == 3
    assert all(flags[0] & 0x8 and flags[1] & 0x8 for flags in (tcp[4], tcp[5]))
    udp = made(entry(HERE, BACK, protocol=17))
    assert PROTOCOL not in udp and number(udp[TIMEOUT]) > 0
