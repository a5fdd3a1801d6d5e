# SPDX-License-Identifier: GPL-2.0-or-later
"""apk's binary format "adb": values that refer to each other, and blocks of a file.

Source: apk-v3(5) of apk-tools 3. All numbers are little-endian. A value is a word: four bits of
type, and 28 of the value itself or of the offset where it is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

NULL = 0
INT, INT_32, INT_64 = 0x1, 0x2, 0x3
BLOB_8, BLOB_16, BLOB_32 = 0x8, 0x9, 0xA
OBJECT = 0xE
BLOCK_OF_VALUES, BLOCK_OF_DATA = 0, 2
BLOCK_ALIGNMENT = 8
HEADER = struct.Struct("<BBHI")
WORD = struct.Struct("<I")


class Values:
    """Values that are written one after the other, each after those that it refers to."""

    def __init__(self) -> None:
        self._buffer = bytearray(HEADER.size)
        self._places: dict[bytes, int] = {}

    def integer(self, number: int) -> int:
        """The value of a number from 0 to 2^64 - 1."""
        if number < 1 << 28:
            return INT << 28 | number
        if number < 1 << 32:
            return INT_32 << 28 | self._place(WORD.pack(number), 4)
        return INT_64 << 28 | self._place(struct.pack("<Q", number), 4)

    def blob(self, content: bytes) -> int:
        """The value of bytes; of none it is NULL."""
        if not content:
            return NULL
        kind, length = self._length(content)
        return kind << 28 | self._place(length + content, len(length))

    def text(self, text: str) -> int:
        return self.blob(text.encode())

    def room(self, size: int) -> tuple[int, int]:
        """The value of so many zero bytes (at most 255) and the offset where they are, for
        what is not known yet."""
        offset = self._append(bytes((size,)) + bytes(size), 1)
        return BLOB_8 << 28 | offset, offset + 1

    def fill(self, offset: int, content: bytes) -> None:
        self._buffer[offset : offset + len(content)] = content

    def record(self, fields: Sequence[int]) -> int:
        """The value of an object; its fields are values, in their order, and may be NULL.

        Also of a list: apk writes those as objects, too, and reads either.
        """
        slots = list(fields)
        while slots and slots[-1] == NULL:
            slots.pop()
        if not slots:
            return NULL
        words = [len(slots) + 1, *slots]
        return OBJECT << 28 | self._place(struct.pack(f"<{len(words)}I", *words), 4)

    def finished(self, root: int) -> bytes:
        """Everything written, of which `root` is the outermost value."""
        HEADER.pack_into(self._buffer, 0, 0, 0, 0, root)
        return bytes(self._buffer)

    @staticmethod
    def _length(content: bytes) -> tuple[int, bytes]:
        size = len(content)
        if size < 1 << 8:
            return BLOB_8, struct.pack("<B", size)
        if size < 1 << 16:
            return BLOB_16, struct.pack("<H", size)
        return BLOB_32, struct.pack("<I", size)

    def _place(self, content: bytes, alignment: int) -> int:
        """Where these bytes are; written only once, unless they are not aligned there."""
        place = self._places.get(content)
        if place is None or place % alignment:
            place = self._places[content] = self._append(content, alignment)
        return place

    def _append(self, content: bytes, alignment: int) -> int:
        self._buffer += bytes(-len(self._buffer) % alignment)
        place = len(self._buffer)
        self._buffer += content
        return place


def block(kind: int, content: bytes) -> bytes:
    """Its size is less than 2^30 bytes."""
    size = WORD.size + len(content)
    return WORD.pack(kind << 30 | size) + content + bytes(-size % BLOCK_ALIGNMENT)
