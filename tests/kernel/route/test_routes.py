# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers as the kernel gives them: this machine's own, and constructed ones."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    RTA_DST,
    RTA_OIF,
    RTM_NEWROUTE,
    RouteQuestions,
    outgoing_index,
    route_request,
)

UNICAST, UNREACHABLE = 1, 7


@pytest.fixture
def routes() -> Iterator[RouteQuestions]:
    with closing(RouteQuestions()) as made:
        yield made


def message(kind: int, body: bytes) -> Message:
    data = HEADER.pack(HEADER.size + len(body), kind, 0, 1, 0) + body
    (found,) = messages_in(data)
    return found


def route(route_type: int, *parts: bytes) -> Message:
    return message(
        RTM_NEWROUTE, bytes((2, 32, 0, 0, 254, 0, 0, route_type)) + bytes(4) + b"".join(parts)
    )


def test_this_machine_itself_is_behind_lo(routes: RouteQuestions) -> None:
    assert [routes.device_of(f"127.0.0.{last}") for last in (1, 2, 1)] == ["lo"] * 3


def test_what_is_no_address_is_an_error_and_no_end(routes: RouteQuestions) -> None:
    with pytest.raises(OSError, match="address"):
        routes.device_of("nonsense")
    assert routes.device_of("127.0.0.1") == "lo"


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
