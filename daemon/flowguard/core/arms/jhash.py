# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's hash of Bob Jenkins (include/linux/jhash.h), which nft calls `jhash`."""

from __future__ import annotations

from typing import Literal

INITIAL = 0xDEADBEEF
BLOCK = 12  # bytes; each is mixed in as three numbers
LIMIT = 0xFFFFFFFF

ByteOrder = Literal["little", "big"]


def jhash(key: bytes, seed: int, byteorder: ByteOrder) -> int:
    """The 32 bits that a kernel of this byte order makes of the same bytes.

    It reads whole blocks in its own byte order, and the last block byte by byte.
    """
    a = b = c = (INITIAL + len(key) + seed) & LIMIT
    while len(key) > BLOCK:
        a, b, c = _mix(
            a + int.from_bytes(key[:4], byteorder),
            b + int.from_bytes(key[4:8], byteorder),
            c + int.from_bytes(key[8:BLOCK], byteorder),
        )
        key = key[BLOCK:]
    if not key:
        return c
    return _final(
        a + int.from_bytes(key[:4], "little"),
        b + int.from_bytes(key[4:8], "little"),
        c + int.from_bytes(key[8:], "little"),
    )


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """`__jhash_mix`."""
    for one, other, third in ((4, 6, 8), (16, 19, 4)):
        a = (a - c ^ _rotated(c, one)) & LIMIT
        c += b
        b = (b - a ^ _rotated(a, other)) & LIMIT
        a += c
        c = (c - b ^ _rotated(b, third)) & LIMIT
        b += a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    """`__jhash_final`."""
    c = (c ^ b) - _rotated(b, 14)
    a = (a ^ c) - _rotated(c, 11)
    b = (b ^ a) - _rotated(a, 25)
    c = (c ^ b) - _rotated(b, 16)
    a = (a ^ c) - _rotated(c, 4)
    b = (b ^ a) - _rotated(a, 14)
    c = (c ^ b) - _rotated(b, 24)
    return c & LIMIT


def _rotated(number: int, bits: int) -> int:
    number &= LIMIT
    return (number << bits | number >> 32 - bits) & LIMIT
