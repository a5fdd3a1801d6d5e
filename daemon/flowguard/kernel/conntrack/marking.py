# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes bits out of the marks of many connections at once."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from flowguard.kernel.conntrack.chunks import in_chunks
from flowguard.kernel.conntrack.entry import Entry
from flowguard.kernel.conntrack.flow import encode_zone
from flowguard.kernel.conntrack.numbers import (
    CTA_IP_V6_SRC,
    CTA_MARK,
    CTA_MARK_MASK,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    NEW,
    NUMBER,
    request,
)
from flowguard.kernel.netlink.codec import (
    NESTED,
    NLMSG_ERROR,
    RECEIVE,
    attribute,
    attributes,
    messages_in,
)


async def clear_mark(entries: Sequence[Entry], bits: int) -> None:
    """Clear these bits of the connections' marks, leaving all others as they are.

    Connections that are gone do not matter. Raises OSError with the kernel's last refusal,
    when all were tried, and MalformedMessage for an entry without a tuple.
    Without NLM_F_CREATE this makes no connection (ctnetlink_new_conntrack in
    net/netfilter/nf_conntrack_netlink.c).
    """
    refusals = await in_chunks(entries, lambda opened, some: _clear(opened, some, bits))
    if refusals:
        raise refusals[-1]


def _clear(opened: socket.socket, entries: Sequence[Entry], bits: int) -> list[OSError]:
    # The kernel works through all of it before `send` returns.
    opened.send(b"".join(_request(entry, bits) for entry in entries))
    return _refusals(opened)


def _request(entry: Entry, bits: int) -> bytes:
    original = attribute(CTA_TUPLE_ORIG | NESTED, entry.key) + encode_zone(entry.zone)
    mark = attribute(CTA_MARK, NUMBER.pack(0)) + attribute(CTA_MARK_MASK, NUMBER.pack(bits))
    return request(NEW, 0, _family(entry.key), original + mark)


def _family(key: bytes) -> int:
    addresses = (
        inner
        for kind, start, end in attributes(key, 0, len(key))
        if kind == CTA_TUPLE_IP
        for inner, _, _ in attributes(key, start, end)
    )
    return socket.AF_INET6 if CTA_IP_V6_SRC in addresses else socket.AF_INET


def _refusals(opened: socket.socket) -> list[OSError]:
    """Only refusals are answered, because no acknowledgement was asked for."""
    refusals: list[OSError] = []
    while True:
        try:
            answer = opened.recv(RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return refusals
        for message in messages_in(answer):
            if message.kind == NLMSG_ERROR and message.error not in (0, errno.ENOENT):
                why = f"clear the mark of a connection: {os.strerror(message.error)}"
                refusals.append(OSError(message.error, why))
