# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interfaces packets are routed over, as the kernel alone can tell.

Answers are rtnetlink's (rtnetlink(7), include/uapi/linux/if_addr.h) and the `forwarding`
sysctls (Documentation/networking/ip-sysctl.rst).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator

from flowguard.kernel.netlink.codec import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    messages_in,
)

NETLINK_ROUTE = 0
RTM_NEWADDR, RTM_GETADDR = 20, 22
# Family, prefix length, flags, scope, interface index.
ADDRESS = struct.Struct("=BBBBI")
RT_SCOPE_LINK = 253
RECEIVE = 1 << 16
ATTEMPTS = 10


def forwarding_interfaces(proc: str = "/proc") -> tuple[str, ...]:
    """The interfaces that have an address to route by, and forward.

    Raises OSError when the kernel cannot say, EINTR when it changes all the time.
    """
    names: set[str] = set()
    for index in _addressed():
        with contextlib.suppress(OSError):  # Gone since.
            names.add(socket.if_indextoname(index))
    return tuple(sorted(name for name in names if _forwards(name, proc)))


def _addressed() -> set[int]:
    for _ in range(ATTEMPTS):
        with (
            contextlib.suppress(InterruptedError),
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as netlink,
        ):
            length = HEADER.size + ADDRESS.size
            header = HEADER.pack(length, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
            netlink.send(header + ADDRESS.pack(0, 0, 0, 0, 0))
            return set(_indexes(netlink))
    raise OSError(errno.EINTR, "addresses change faster than they can be read")


def _indexes(netlink: socket.socket) -> Iterator[int]:
    """Raises InterruptedError when addresses changed meanwhile."""
    while True:
        for message in messages_in(netlink.recv(RECEIVE)):
            if message.flags & NLM_F_DUMP_INTR:
                raise InterruptedError
            if message.kind == NLMSG_DONE:
                return
            if message.kind == NLMSG_ERROR:
                raise OSError(message.error, os.strerror(message.error))
            if message.kind == RTM_NEWADDR:
                *_, scope, index = ADDRESS.unpack_from(message.data, HEADER.size)
                if scope < RT_SCOPE_LINK:
                    yield index


def _forwards(name: str, proc: str) -> bool:
    for family in ("ipv4", "ipv6"):
        path = os.path.join(proc, "sys", "net", family, "conf", name, "forwarding")
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            if file.read().strip() == "1":
                return True
    return False
