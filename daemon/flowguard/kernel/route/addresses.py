# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interfaces packets are routed over, as the kernel alone can tell.

Answers are rtnetlink's (rtnetlink(7), include/uapi/linux/if_addr.h) and the `forwarding`
sysctls (Documentation/networking/ip-sysctl.rst).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

from flowguard.kernel.netlink.codec import HEADER
from flowguard.kernel.route.rtnetlink import dump

RTM_NEWADDR, RTM_GETADDR = 20, 22
# Family, prefix length, flags, scope, interface index.
ADDRESS = struct.Struct("=BBBBI")
RT_SCOPE_LINK = 253


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
    found: set[int] = set()
    for message in dump(RTM_GETADDR, ADDRESS.pack(0, 0, 0, 0, 0), "addresses"):
        if message.kind == RTM_NEWADDR:
            *_, scope, index = ADDRESS.unpack_from(message.data, HEADER.size)
            if scope < RT_SCOPE_LINK:
                found.add(index)
    return found


def _forwards(name: str, proc: str) -> bool:
    for family in ("ipv4", "ipv6"):
        path = os.path.join(proc, "sys", "net", family, "conf", name, "forwarding")
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            if file.read().strip() == "1":
                return True
    return False
