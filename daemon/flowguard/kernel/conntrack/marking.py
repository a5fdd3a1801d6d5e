# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes bits out of the marks of many connections at once."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from flowguard.kernel.conntrack.entry import Entry
from flowguard.kernel.conntrack.numbers import (
    CTA_IP_V6_SRC,
    CTA_MARK,
    CTA_MARK_MASK,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    NEW,
    NUMBER,
    open_socket,
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

# What is sent in one go; the kernel works through it before `send` returns.
AT_ONCE = 50


def clear_mark(entries: Sequence[Entry], bits: int) -> None:
    """Clear these bits of the connections' marks, leaving all others as they are.

    Connections that are gone do not matter. Raises OSError with the kernel's last refusal,
    and MalformedMessage for an entry without a tuple; those after it are not tried.
    Without NLM_F_CREATE this makes no connection (ctnetlink_new_conntrack in
    net/netfilter/nf_conntrack_netlink.c).
    """
    mark = attribute(CTA_MARK, NUMBER.pack(0)) + attribute(CTA_MARK_MASK, NUMBER.pack(bits))
    with open_socket() as opened:
        for first in range(0, len(entries), AT_ONCE):
            some = entries[first : first + AT_ONCE]
            opened.send(b"".join(_request(entry.key, mark) for entry in some))
            _raise_refusal(opened)


def _request(key: bytes, mark: bytes) -> bytes:
    return request(NEW, 0, _family(key), attribute(CTA_TUPLE_ORIG | NESTED, key) + mark)


def _family(key: bytes) -> int:
    addresses = (
        inner
        for kind, start, end in attributes(key, 0, len(key))
        if kind == CTA_TUPLE_IP
        for inner, _, _ in attributes(key, start, end)
    )
    return socket.AF_INET6 if CTA_IP_V6_SRC in addresses else socket.AF_INET


def _raise_refusal(opened: socket.socket) -> None:
    """Only refusals are answered, because no acknowledgement was asked for."""
    refusal = 0
    while True:
        try:
            answer = opened.recv(RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
        for message in messages_in(answer):
            if message.kind == NLMSG_ERROR and message.error not in (0, errno.ENOENT):
                refusal = message.error
    if refusal:
        raise OSError(refusal, f"clear the mark of a connection: {os.strerror(refusal)}")
