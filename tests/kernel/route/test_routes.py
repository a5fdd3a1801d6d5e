# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers as the kernel gives them: this machine's own, and constructed ones."""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.model import FlowTuple
from flowguard.kernel.conntrack import Flow
from flowguard.kernel.netlink.codec import (
    HEADER,
    NLMSG_ERROR,
    MalformedMessage,
    Message,
    attribute,
    attributes,
    messages_in,
)
from flowguard.kernel.route.routes import (
    ENTRIES,
    RTA_DST,
    RTA_OIF,
    RTM_NEWROUTE,
    Routes,
    outgoing_index,
    route_request,
)

UNICAST, UNREACHABLE = 1, 7


class Clock:
    time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def routes(clock: Clock) -> Iterator[Routes]:
    made = Routes(clock)
    yield made
    made.close()


def message(kind: int, body: bytes) -> Message:
    data = HEADER.pack(HEADER.size + len(body), kind, 0, 1, 0) + body
    (found,) = messages_in(data)
    return found


def route(route_type: int, *parts: bytes) -> Message:
    return message(
        RTM_NEWROUTE, bytes((2, 32, 0, 0, 254, 0, 0, route_type)) + bytes(4) + b"".join(parts)
    )


def test_this_machine_itself_is_behind_lo(routes: Routes) -> None:
    assert routes.device_of("127.0.0.1") == "lo"


def test_both_real_ends_make_the_pair(routes: Routes) -> None:
    original = FlowTuple("tcp", "127.0.0.1", "198.51.100.9", 1000, 80)
    reply = FlowTuple("tcp", "127.0.0.2", "198.51.100.1", 80, 2000)
    assert routes.pair_of(Flow(original, reply)) == ("lo", "lo")


def test_an_end_without_a_device_makes_no_pair(routes: Routes) -> None:
    here = FlowTuple("tcp", "127.0.0.1", "127.0.0.1", 1, 2)
    nowhere = FlowTuple("tcp", "not an address", "127.0.0.1", 1, 2)
    assert routes.pair_of(Flow(here, nowhere)) is None
    assert routes.pair_of(Flow(nowhere, here)) is None


def test_the_request_carries_the_address() -> None:
    request = route_request("2001:db8::1", 7)
    found = {
        kind: request[a:b] for kind, a, b in attributes(request, HEADER.size + 12, len(request))
    }
    assert found == {RTA_DST: socket.inet_pton(socket.AF_INET6, "2001:db8::1")}
    assert request[HEADER.size : HEADER.size + 2] == bytes((socket.AF_INET6, 128))


def test_the_answer_names_the_interface() -> None:
    dst = attribute(RTA_DST, b"\x01\x02\x03\x04")
    assert outgoing_index(route(UNICAST, dst, attribute(RTA_OIF, struct.pack("=I", 5)))) == 5


def test_unreachable_is_no_interface() -> None:
    through_lo = attribute(RTA_OIF, struct.pack("=I", 1))
    assert outgoing_index(route(UNREACHABLE, through_lo)) is None
    assert outgoing_index(message(NLMSG_ERROR, struct.pack("=i", -errno.ENETUNREACH))) is None
    assert outgoing_index(route(UNICAST)) is None


def test_another_refusal_is_an_error() -> None:
    with pytest.raises(OSError, match="not permitted"):
        outgoing_index(message(NLMSG_ERROR, struct.pack("=i", -errno.EPERM)))


@given(st.sampled_from([RTM_NEWROUTE, NLMSG_ERROR, 3]), st.binary(max_size=60))
def test_whatever_comes_is_an_index_none_or_a_plain_error(kind: int, body: bytes) -> None:
    try:
        found = outgoing_index(message(kind, body))
    except (MalformedMessage, OSError):
        return
    assert found is None or found >= 0


def test_answers_are_kept_for_a_minute(routes: Routes, clock: Clock) -> None:
    assert routes.device_of("127.0.0.1") == "lo"
    routes.close()  # From now on nothing can be asked.
    assert routes.device_of("127.0.0.1") == "lo"
    clock.time += 59
    assert routes.device_of("127.0.0.1") == "lo"
    clock.time += 1
    assert routes.device_of("127.0.0.1") is None


def test_forgetting_asks_again(routes: Routes) -> None:
    assert routes.device_of("127.0.0.1") == "lo"
    routes.close()
    routes.forget()
    assert routes.device_of("127.0.0.1") is None


def test_the_oldest_answer_makes_room(routes: Routes) -> None:
    for number in range(ENTRIES + 1):
        assert routes.device_of(f"127.1.{number >> 8}.{number & 255}") == "lo"
    routes.close()
    assert routes.device_of("127.1.0.1") == "lo"
    assert routes.device_of("127.1.0.0") is None


def test_errors_are_reported_once(routes: Routes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert routes.device_of("nonsense") is None
        assert routes.device_of("other nonsense") is None
    (record,) = caplog.records
    assert "nonsense" in record.getMessage()
