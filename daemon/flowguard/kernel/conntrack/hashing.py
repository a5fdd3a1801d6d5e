# SPDX-License-Identifier: GPL-2.0-or-later
"""The hash of a connection, as our rules have the kernel compute it."""

from __future__ import annotations

import sys

from flowguard.core.arms.jhash import jhash
from flowguard.kernel.conntrack.numbers import (
    CTA_PROTO_DST_PORT,
    CTA_PROTO_SRC_PORT,
    CTA_TUPLE_IP,
    CTA_TUPLE_PROTO,
)
from flowguard.kernel.netlink.codec import attributes

HALF_A_REGISTER = bytes(2)


def connection_hash(key: bytes, seed: int) -> int:
    """32 bits of the original addresses and ports, given as in `Entry.key`.

    The same as `jhash ct original ip saddr . ct original ip daddr . ct original proto-src . ct
    original proto-dst seed S` of nft, and with `ip6` for IPv6 (kernel.nftables.expressions).
    Raises MalformedMessage.
    """
    hashed = []
    for kind, start, end in attributes(key, 0, len(key)):
        inside = attributes(key, start, end)
        if kind == CTA_TUPLE_IP:
            hashed += [key[first:last] for _, first, last in inside]
        elif kind == CTA_TUPLE_PROTO:
            hashed += [
                key[first:last] + HALF_A_REGISTER
                for inner, first, last in inside
                if inner in (CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT)
            ]
    return jhash(b"".join(hashed), seed, sys.byteorder)
