# SPDX-License-Identifier: GPL-2.0-or-later
"""Classic BPF socket filters over conntrack messages: unwanted events wake nobody.

Documentation/networking/filter.rst; the attribute search is SKF_AD_NLATTR.
"""

from __future__ import annotations

import array
import socket
import struct

from flowguard.kernel.conntrack.numbers import CTA_MARK, CTA_STATUS, Filter
from flowguard.kernel.netlink.codec import ATTRIBUTE, HEADER, NFGEN

# asm-generic/socket.h; the router architectures agree on it.
SO_ATTACH_FILTER = 26
INSTRUCTION = struct.Struct("=HBBI")
PROGRAM = struct.Struct("@HP")

LOAD, LOAD_X, LOAD_WORD, LOAD_WORD_AT_X = 0x00, 0x01, 0x20, 0x40
AND, COPY_TO_X, JUMP_IF_EQUAL, RETURN = 0x54, 0x07, 0x15, 0x06
FIND_ATTRIBUTE = 0xFFFFF000 + 12  # SKF_AD_OFF + SKF_AD_NLATTR
WHOLE = 0xFFFFFFFF


def program(wanted: Filter) -> bytes:
    """Passes the messages that match; a status or mark that is not there counts as 0."""
    parts = b"".join(
        _compare(kind, number, mask)
        for kind, number, mask in (
            (CTA_STATUS, wanted.status, wanted.status_mask),
            (CTA_MARK, wanted.mark, wanted.mark_mask),
        )
        if mask
    )
    return parts + INSTRUCTION.pack(RETURN, 0, 0, WHOLE)


def _compare(kind: int, number: int, mask: int) -> bytes:
    """Ends with refusal unless the attribute matches."""
    instructions = (
        (LOAD, 0, 0, HEADER.size + NFGEN.size),
        (LOAD_X, 0, 0, kind),
        # Leaves the attribute's offset, or 0; a comparison with 0 then does for an absent one.
        (LOAD_WORD, 0, 0, FIND_ATTRIBUTE),
        (JUMP_IF_EQUAL, 2, 0, 0),
        (COPY_TO_X, 0, 0, 0),
        (LOAD_WORD_AT_X, 0, 0, ATTRIBUTE.size),
        (AND, 0, 0, mask),
        (JUMP_IF_EQUAL, 1, 0, number),
        (RETURN, 0, 0, 0),
    )
    return b"".join(INSTRUCTION.pack(*instruction) for instruction in instructions)


def attach(opened: socket.socket, instructions: bytes) -> None:
    """Let only what the program passes into the socket; raises OSError."""
    # The kernel wants the program's address, and ctypes is a package of its own on OpenWrt.
    memory = array.array("B", instructions)
    address, size = memory.buffer_info()
    opened.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, PROGRAM.pack(size // INSTRUCTION.size, address)
    )
