# SPDX-License-Identifier: GPL-2.0-or-later
"""The same addresses and ports in another conntrack zone are another connection."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.model import FlowTuple
from flowguard.kernel.conntrack import (
    Entry,
    Flow,
    chunks,
    delete,
    find,
)
from flowguard.kernel.conntrack.chunks import AT_ONCE
from flowguard.kernel.conntrack.entry import parse
from flowguard.kernel.conntrack.flow import encode_flow
from flowguard.kernel.netlink.codec import HEADER, MalformedMessage, attribute, messages_in
from tests.kernel.conntrack.test_conntrack import FLOW, as_message, encoded_tuple, flows

CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ZONE = 1, 2, 18
CTA_TUPLE_ZONE = 3
NESTED = 0x8000
GET, DELETE = 1, 2

zones = st.integers(1, 0xFFFF)


def zone(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack("!H", number))


def nested(kind: int, flow: FlowTuple, own_zone: int) -> bytes:
    """A direction with a zone of its own, as ctnetlink_fill_info writes it."""
    inside = encoded_tuple(kind, flow)[4:] + zone(CTA_TUPLE_ZONE, own_zone)
    return attribute(kind | NESTED, inside)


def original(flow: Flow) -> bytes:
    return encoded_tuple(CTA_TUPLE_ORIG, flow.original)


def reply(flow: Flow) -> bytes:
    return encoded_tuple(CTA_TUPLE_REPLY, flow.reply)


def read(*attributes: bytes) -> Entry:
    (entry,) = parse(as_message(b"".join(attributes))).entries
    return entry


@given(flows, zones)
def test_a_zone_of_both_directions_is_asked_for_as_it_was_shown(flow: Flow, number: int) -> None:
    shown = read(original(flow), reply(flow), zone(CTA_ZONE, number)).flow()
    assert shown == Flow(flow.original, flow.reply, number)
    assert encode_flow(shown)[1] == original(flow) + zone(CTA_ZONE, number)


@given(flows, zones)
def test_a_zone_of_the_original_direction_goes_into_its_tuple(flow: Flow, number: int) -> None:
    shown = read(nested(CTA_TUPLE_ORIG, flow.original, number), reply(flow)).flow()
    assert shown == Flow(flow.original, flow.reply, 0, number)
    assert encode_flow(shown)[1] == nested(CTA_TUPLE_ORIG, flow.original, number)


@given(flows, zones)
def test_one_of_the_reply_is_none_of_the_original(flow: Flow, number: int) -> None:
    shown = read(original(flow), nested(CTA_TUPLE_REPLY, flow.reply, number)).flow()
    assert shown == flow
    assert encode_flow(shown)[1] == original(flow)


@pytest.mark.parametrize("octets", [b"", b"\0", b"\0\0\0\0"])
def test_a_zone_of_another_size_is_malformed(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read(original(FLOW), reply(FLOW), attribute(CTA_ZONE, octets))
    inside = original(FLOW)[4:] + attribute(CTA_TUPLE_ZONE, octets)
    with pytest.raises(MalformedMessage):
        read(attribute(CTA_TUPLE_ORIG | NESTED, inside), reply(FLOW)).flow()


class Kernel:
    """A connection table behind a socket: `held` by what names a connection in a request."""

    def __init__(self, *flows: Flow) -> None:
        self.held = {encode_flow(flow)[1]: flow for flow in flows}
        self.sent: list[bytes] = []
        self.refuses: dict[bytes, int] = {}
        self.opened = 0
        self._answers: list[bytes] = []

    def __enter__(self) -> Kernel:
        self.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, data: bytes) -> None:
        for message in messages_in(data):
            asked = message.data[HEADER.size + 4 :]
            self.sent.append(asked)
            if message.kind & 0xFF == GET and asked in self.held:
                flow = self.held[asked]
                self._answers.append(as_message(asked + reply(flow)))
            elif message.kind & 0xFF == DELETE:
                missing = 0 if self.held.pop(asked, None) else errno.ENOENT
                self._refuse(self.refuses.get(asked, missing))
            else:
                self._refuse(self.refuses.get(asked, errno.ENOENT))

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self._answers:
            raise BlockingIOError
        return self._answers.pop(0)

    def _refuse(self, number: int) -> None:
        body = struct.pack("=i", -number) + bytes(HEADER.size)
        self._answers.append(HEADER.pack(HEADER.size + len(body), 2, 0, 1, 0) + body)


Place = Callable[..., Kernel]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Puts a kernel in the place of the real one."""

    def made(*flows: Flow) -> Kernel:
        kernel = Kernel(*flows)
        monkeypatch.setattr(chunks, "open_socket", lambda: kernel)
        return kernel

    return made


TWINS = [FLOW, Flow(FLOW.original, FLOW.reply, 5), Flow(FLOW.original, FLOW.reply, 0, 6)]


def test_twins_in_different_zones_are_found_apart(place: Place) -> None:
    place(*TWINS)
    found = asyncio.run(find([*TWINS, Flow(FLOW.original, FLOW.reply, 7)]))
    assert [entry.flow() if entry else None for entry in found] == [*TWINS, None]


def test_deleting_one_leaves_its_twins(place: Place) -> None:
    kernel = place(*TWINS)
    asyncio.run(delete([TWINS[1]]))
    assert list(kernel.held.values()) == [TWINS[0], TWINS[2]]


MANY = [
    Flow(FlowTuple("udp", "192.0.2.1", "192.0.2.2", port, 53), FLOW.reply)
    for port in range(3 * AT_ONCE + 1)
]


def test_many_are_worked_through_on_one_socket_and_others_have_their_turns(place: Place) -> None:
    kernel = place(*MANY)
    turns = 0

    async def run() -> None:
        nonlocal turns
        finding = asyncio.create_task(find(MANY))
        while not finding.done():
            turns += 1
            await asyncio.sleep(0)
        assert all(await finding)

    asyncio.run(run())
    assert kernel.opened == 1
    assert turns > 4


def test_one_that_may_not_be_deleted_does_not_keep_the_others(place: Place) -> None:
    kernel = place(*MANY)
    kernel.refuses = {encode_flow(MANY[0])[1]: errno.EPERM}
    with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
        asyncio.run(delete(MANY))
    assert not kernel.held


def test_nothing_is_asked_for_nobody(place: Place) -> None:
    kernel = place()
    assert asyncio.run(find([])) == []
    asyncio.run(delete([]))
    assert kernel.opened == 0
