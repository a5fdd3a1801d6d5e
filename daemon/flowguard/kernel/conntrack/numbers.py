# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of ctnetlink: include/uapi/linux/netfilter/nfnetlink_conntrack.h."""

from __future__ import annotations

import os
import socket
import struct

from flowguard.core.records import frozen
from flowguard.kernel.netlink.codec import (
    HEADER,
    NETLINK_NETFILTER,
    NFGEN,
    NLM_F_REQUEST,
    attribute,
)

# enum ip_conntrack_status, include/uapi/linux/netfilter/nf_conntrack_common.h.
SEQ_ADJUST, NAT_CLASH, HELPER = 1 << 6, 1 << 12, 1 << 13
HELPED = SEQ_ADJUST | NAT_CLASH | HELPER
"""Any of these bits: the kernel takes the connection into no flowtable."""
OFFLOAD = 1 << 14
HW_OFFLOAD = 1 << 15

# Protocols as IANA numbers them; netinet/in.h has the same.
TCP, UDP, GRE = 6, 17, 47

SUBSYSTEM = 1
NEW, GET, DELETE = 0, 1, 2
DESTROY_GROUP = 3

CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO = 1, 2, 3, 4
CTA_TIMEOUT, CTA_MARK, CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_ID = 7, 8, 9, 10, 12
CTA_ZONE, CTA_MARK_MASK, CTA_STATUS_MASK = 18, 21, 26
CTA_TUPLE_IP, CTA_TUPLE_PROTO, CTA_TUPLE_ZONE = 1, 2, 3
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
CTA_COUNTERS_PACKETS, CTA_COUNTERS_BYTES, CTA_COUNTERS32_PACKETS, CTA_COUNTERS32_BYTES = 1, 2, 3, 4
CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE = 1, 1

NUMBER = struct.Struct("!I")
# Large enough for what the kernel says of one connection, or to one request.
ANSWER = 1 << 13


@frozen
class Filter:
    """Bits that must be as given: `status & status_mask == status`, and likewise the mark."""

    status: int = 0
    status_mask: int = 0
    mark: int = 0
    mark_mask: int = 0

    @property
    def accepts_all(self) -> bool:
        return not (self.status_mask or self.mark_mask)


IN_HARDWARE = Filter(HW_OFFLOAD, HW_OFFLOAD)
IN_SOFTWARE = Filter(OFFLOAD, OFFLOAD | HW_OFFLOAD)
OFFLOADED = Filter(OFFLOAD, OFFLOAD)


def request(kind: int, flags: int, family: int, body: bytes, sequence: int = 1) -> bytes:
    body = NFGEN.pack(family, 0, 0) + body
    length = HEADER.size + len(body)
    return HEADER.pack(length, SUBSYSTEM << 8 | kind, NLM_F_REQUEST | flags, sequence, 0) + body


def filter_attributes(wanted: Filter) -> bytes:
    """What makes the kernel dump only the wanted; it refuses a mask of 0."""
    return b"".join(
        attribute(kind, NUMBER.pack(number))
        for kind, number, mask in (
            (CTA_STATUS, wanted.status, wanted.status_mask),
            (CTA_STATUS_MASK, wanted.status_mask, wanted.status_mask),
            (CTA_MARK, wanted.mark, wanted.mark_mask),
            (CTA_MARK_MASK, wanted.mark_mask, wanted.mark_mask),
        )
        if mask
    )


def error_of(buffer: bytes, offset: int) -> OSError:
    """What the NLMSG_ERROR there says; errno 0 for an acknowledgement."""
    number = -int(struct.unpack_from("=i", buffer, offset + HEADER.size)[0])
    return OSError(number, os.strerror(number))


def open_socket() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    try:
        opened.bind((0, 0))
    except BaseException:
        opened.close()
        raise
    return opened
