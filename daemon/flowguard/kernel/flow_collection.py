# SPDX-License-Identifier: GPL-2.0-or-later
"""Has the kernel take out of its flowtables at once what has ended.

It looks for that once a second (nf_flow_offload_work_gc in net/netfilter/nf_flow_table_core.c),
and nothing asks it to look sooner but a device that goes down: any device, also one that no
flow takes (nf_flow_table_cleanup). It then waits for the drivers, too. So the loopback device
of a network namespace that nobody else is in goes up and down: no other program sees it.
"""

from __future__ import annotations

import importlib
import os
import socket
import struct
import sys

from flowguard.kernel.netlink.codec import (
    HEADER,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    messages_in,
)
from flowguard.kernel.route.rtnetlink import NETLINK_ROUTE, RECEIVE

CLONE_NEWNET = 0x40000000
RTM_NEWLINK = 16
# struct ifinfomsg: family, type, index, flags, which of them change.
LINK = struct.Struct("=BxHiII")
# The kernel gives it the first index in every namespace (include/net/net_namespace.h).
LOOPBACK = 1
IFF_UP = 1


def collect() -> None:
    """Returns when it is done; call it in a thread that ends afterwards.

    The thread stays in the new namespace. Raises OSError where there can be none.
    """
    _leave_network()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as netlink:
        for flags in (IFF_UP, 0):
            body = LINK.pack(socket.AF_UNSPEC, 0, LOOPBACK, flags, IFF_UP)
            length = HEADER.size + len(body)
            header = HEADER.pack(length, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, flags, 0)
            netlink.send(header + body)
            for answer in messages_in(netlink.recv(RECEIVE)):
                if answer.kind == NLMSG_ERROR and answer.error:
                    raise OSError(answer.error, os.strerror(answer.error))


def _leave_network() -> None:
    """unshare(2), of this thread alone."""
    if sys.version_info >= (3, 12):
        os.unshare(CLONE_NEWNET)
        return
    try:
        ctypes = importlib.import_module("ctypes")
    except ImportError as error:  # A package of its own on OpenWrt.
        raise OSError(str(error)) from None
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        error_number = ctypes.get_errno()
        raise OSError(error_number, os.strerror(error_number))
