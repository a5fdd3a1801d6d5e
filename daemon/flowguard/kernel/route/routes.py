# SPDX-License-Identifier: GPL-2.0-or-later
"""Behind which device an address is, as the kernel would route to it.

Answers are rtnetlink's (rtnetlink(7), include/uapi/linux/rtnetlink.h). The device is the
one of the route: for a bridge port that is the bridge.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from flowguard.kernel.netlink.codec import (
    HEADER,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    MalformedMessage,
    Message,
    attribute,
    attributes,
    messages_in,
)
from flowguard.kernel.route.rtnetlink import NETLINK_ROUTE, device_name

RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTA_DST, RTA_OIF = 1, 4
# Families, prefix lengths, tos, table, protocol, scope, type; flags.
ROUTE = struct.Struct("=8BI")
TYPE_FIELD = 7
RTN_UNICAST, RTN_LOCAL = 1, 2
NUMBER = struct.Struct("=I")

RECEIVE = 1 << 14
# What the kernel answers when there is no way: news about the route, not a fault.
NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL}


class RouteQuestions:
    """Asks the kernel for routes; close it at the end."""

    def __init__(self) -> None:
        """Raises OSError when there is no rtnetlink."""
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)

    def close(self) -> None:
        self._socket.close()

    def device_of(self, address: str) -> str | None:
        """The device towards an IPv4 or IPv6 address; None when there is no route.

        Raises OSError and MalformedMessage.
        """
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._socket.send(route_request(address, self._sequence))
        while True:
            # The kernel works inside send: the answer is there, or never comes.
            for reply in messages_in(self._socket.recv(RECEIVE, socket.MSG_DONTWAIT)):
                if reply.sequence == self._sequence:
                    return _device(reply)


def route_request(address: str, sequence: int) -> bytes:
    """RTM_GETROUTE; raises OSError for what is no address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    body = ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, packed)
    length = HEADER.size + len(body)
    return HEADER.pack(length, RTM_GETROUTE, NLM_F_REQUEST, sequence, 0) + body


def outgoing_index(reply: Message) -> int | None:
    """The interface index of an answer, None without a way; raises OSError, MalformedMessage."""
    if reply.kind == NLMSG_ERROR:
        if len(reply.data) < HEADER.size + NUMBER.size:
            raise MalformedMessage("error without a number")
        if reply.error in NO_ROUTE:
            return None
        raise OSError(reply.error, os.strerror(reply.error))
    start = HEADER.size + ROUTE.size
    if reply.kind != RTM_NEWROUTE or len(reply.data) < start:
        raise MalformedMessage(f"message {reply.kind} of {len(reply.data)} bytes for a route")
    # IPv6 answers "unreachable" with a route of that type, through lo.
    if ROUTE.unpack_from(reply.data, HEADER.size)[TYPE_FIELD] not in (RTN_UNICAST, RTN_LOCAL):
        return None
    for kind, first, last in attributes(reply.data, start, len(reply.data)):
        if kind == RTA_OIF and last - first == NUMBER.size:
            return int(NUMBER.unpack_from(reply.data, first)[0])
    return None


def _device(reply: Message) -> str | None:
    index = outgoing_index(reply)
    return (device_name(index) or None) if index else None
