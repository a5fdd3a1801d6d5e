# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire format of netlink: messages and attributes.

Source: include/uapi/linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from flowguard.core.records import frozen

NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_DUMP_INTR = 0x10

HEADER = struct.Struct("=IHHII")
NFGEN = struct.Struct("!BBH")
ATTRIBUTE = struct.Struct("=HH")
NESTED = 0x8000
ATTRIBUTE_TYPE = 0x3FFF  # without the flags for nested and byte order
RECEIVE = 1 << 17


@frozen
class Message:
    """One netlink message as received; `data` is the whole of it, header included."""

    kind: int
    flags: int
    sequence: int
    port: int
    data: bytes

    @property
    def error(self) -> int:
        """The errno inside an NLMSG_ERROR, 0 for an acknowledgement."""
        return -int(struct.unpack_from("=i", self.data, HEADER.size)[0])

    @property
    def generation(self) -> int:
        """The low 16 bits of the ruleset generation that an nf_tables message belongs to."""
        return int(NFGEN.unpack_from(self.data, HEADER.size)[2])


def messages_in(buffer: bytes) -> Iterator[Message]:
    """Split a datagram; stops at the first header that does not fit."""
    offset = 0
    while offset + HEADER.size <= len(buffer):
        length, kind, flags, sequence, port = HEADER.unpack_from(buffer, offset)
        if length < HEADER.size or offset + length > len(buffer):
            return
        yield Message(kind, flags, sequence, port, buffer[offset : offset + length])
        offset += (length + 3) & ~3


class MalformedMessage(ValueError):
    """The kernel's message does not have the documented form."""


def attributes(buffer: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the value of each attribute; raises MalformedMessage."""
    offset = start
    while offset + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(buffer, offset)
        if length < ATTRIBUTE.size or offset + length > end:
            raise MalformedMessage(f"attribute of length {length}")
        yield kind & ATTRIBUTE_TYPE, offset + ATTRIBUTE.size, offset + length
        offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def extended(message: bytes, kind: int, value: bytes) -> bytes:
    """The message with one more attribute at its end."""
    whole = message + attribute(kind, value)
    return len(whole).to_bytes(4, sys.byteorder) + whole[4:]
