# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads apk's format "adb" as apk-v3(5) describes it, to look at what was written."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

Value = int | bytes | list["Value"] | None


def blocks(package: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each block of a deflated package."""
    assert package[:4] == b"ADBd"
    plain = zlib.decompress(package[4:], -15)
    assert plain[:8] == b"ADB.pckg"
    offset = 8
    while offset < len(plain):
        (word,) = struct.unpack_from("<I", plain, offset)
        size = word & 0x3FFFFFFF
        yield word >> 30, plain[offset + 4 : offset + size]
        offset += size + -size % 8


def root(values: bytes) -> Value:
    """The outermost value of a block of values, with everything that it refers to."""
    versions, _reserved, word = struct.unpack_from("<HHI", values)
    assert versions == 0
    return value(values, word)


def value(values: bytes, word: int) -> Value:
    kind, rest = word >> 28, word & 0x0FFFFFFF
    match kind:
        case 0x0:
            assert rest == 0
            return None
        case 0x1:
            return rest
        case 0x2 | 0x3:
            assert rest % 4 == 0
            return int.from_bytes(values[rest : rest + (4 if kind == 0x2 else 8)], "little")
        case 0x8 | 0x9 | 0xA:
            start = rest + {0x8: 1, 0x9: 2, 0xA: 4}[kind]
            assert rest % (start - rest) == 0
            return values[start : start + int.from_bytes(values[rest:start], "little")]
        case 0xE:
            assert rest % 4 == 0
            (count,) = struct.unpack_from("<I", values, rest)
            words = struct.unpack_from(f"<{count - 1}I", values, rest + 4)
            return [value(values, word) for word in words]
    raise AssertionError(f"a value of type {kind}")
