# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything of one kind that rtnetlink has, as one consistent view."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

from flowguard.kernel.netlink.codec import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    messages_in,
)

NETLINK_ROUTE = 0
RECEIVE = 1 << 16
ATTEMPTS = 10


def dump(kind: int, body: bytes, what: str) -> list[Message]:
    """All answers to a request; raises OSError when the kernel cannot say.

    EINTR: `what` is asked for changes all the time.
    """
    for _ in range(ATTEMPTS):
        with (
            contextlib.suppress(InterruptedError),
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as netlink,
        ):
            header = HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
            netlink.send(header + body)
            return list(_answers(netlink))
    raise OSError(errno.EINTR, f"{what} change faster than they can be read")


def device_name(index: int) -> str:
    """ "" for a device that is gone since."""
    with contextlib.suppress(OSError):
        return socket.if_indextoname(index)
    return ""


def _answers(netlink: socket.socket) -> Iterator[Message]:
    """Raises InterruptedError when something changed meanwhile."""
    while True:
        for message in messages_in(netlink.recv(RECEIVE)):
            if message.flags & NLM_F_DUMP_INTR:
                raise InterruptedError
            if message.kind == NLMSG_DONE:
                return
            if message.kind == NLMSG_ERROR:
                raise OSError(message.error, os.strerror(message.error))
            yield message
