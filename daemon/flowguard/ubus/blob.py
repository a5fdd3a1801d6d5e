# SPDX-License-Identifier: GPL-2.0-or-later
"""blobmsg, the values ubus carries: encode and decode (libubox blob.h, blobmsg.h).

An attribute is a big-endian word (1 bit: has a name, 7 bits: type, 24 bits: length with this
word), for named ones a 16-bit name length, the name and a NUL, then the value; everything is
padded to four bytes. Python values and types: dict TABLE, list and tuple ARRAY, str STRING,
bool INT8, int INT32 or where it does not fit INT64, float DOUBLE, None UNSPEC.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from math import isfinite
from typing import Any

MESSAGE_LIMIT = 1 << 20
"""Bytes; ubusd closes the connection of who sends more (UBUS_MAX_MSGLEN)."""
DEPTH_LIMIT = 32
VALUE_LIMIT = 1 << 16
"""Values in one decoded message: a mebibyte of the smallest would take a router seconds."""

_NAMED = 0x80000000
_TYPE_SHIFT = 24
_TYPE_MASK = 0x7F
_LENGTH_MASK = 0xFFFFFF
_NAME_LIMIT = 0xFFFF
_WORD = struct.Struct(">I")
_NAME_LENGTH = struct.Struct(">H")


class Type(IntEnum):
    """How a value is stored; also what a method's signature names."""

    UNSPEC = 0
    ARRAY = 1
    TABLE = 2
    STRING = 3
    INT64 = 4
    INT32 = 5
    INT16 = 6
    INT8 = 7
    BOOL = INT8
    DOUBLE = 8


_NUMBERS = {
    Type.INT64: struct.Struct(">q"),
    Type.INT32: struct.Struct(">i"),
    Type.INT16: struct.Struct(">h"),
    Type.INT8: struct.Struct(">b"),
    Type.DOUBLE: struct.Struct(">d"),
}


class BlobError(ValueError):
    """Bytes that are no blobmsg, or a value that blobmsg cannot carry."""


def walk(data: bytes, start: int, end: int) -> Iterator[tuple[int, bool, int, int]]:
    """The attributes between two offsets: type, whether named, where the payload is.

    BlobError at the first that does not lie within them.
    """
    while start < end:
        if end - start < _WORD.size:
            raise BlobError("attribute cut short")
        (word,) = _WORD.unpack_from(data, start)
        length = word & _LENGTH_MASK
        padded = (length + 3) & ~3
        if length < _WORD.size or padded > end - start:
            raise BlobError(f"attribute of {length} bytes where {end - start} are left")
        kind = (word >> _TYPE_SHIFT) & _TYPE_MASK
        yield kind, bool(word & _NAMED), start + _WORD.size, start + length
        start += padded


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute without a name, as ubus messages are made of."""
    out = bytearray(_WORD.size)
    out += payload
    _finish(out, 0, kind << _TYPE_SHIFT)
    return bytes(out)


def encode(table: dict[str, Any]) -> bytes:
    """A table's content. NaN and infinities become null: JSON, where most replies end, has none.

    BlobError for what cannot be carried: integers beyond 64 bits with sign, NUL or lone
    surrogates in text, empty or over-long names, too deep (so also circular) or too large.
    """
    out = bytearray()
    _put_table(out, table, DEPTH_LIMIT)
    return bytes(out)


def decode(data: bytes, *, strict: bool = True) -> dict[str, Any]:
    """A table's content; BlobError when it is damaged, too deep or has too many values.

    Of two values of one name the last counts. NaN and infinities become None. Text that is not
    UTF-8 or holds a NUL and empty names are errors; when not `strict`, bytes that are not UTF-8
    become backslash escapes, text ends at the NUL and names may be empty, so that one odd name
    does not cost a whole reply.
    """
    return _Decoder(data, strict).table(0, len(data), DEPTH_LIMIT)


def _put_table(out: bytearray, table: dict[str, Any], depth: int) -> None:
    for name, value in table.items():
        if not isinstance(name, str) or not name:
            raise BlobError(f"no name for a value: {name!r}")
        _put(out, _text(name), value, depth)


def _put(out: bytearray, name: bytes, value: Any, depth: int) -> None:
    if not depth:
        raise BlobError(f"nested more than {DEPTH_LIMIT} deep")
    if len(name) > _NAME_LIMIT:
        raise BlobError(f"name of {len(name)} bytes")
    start = len(out)
    out += bytes(_WORD.size)
    out += _NAME_LENGTH.pack(len(name)) + name + b"\0"
    out += bytes(-len(out) % 4)
    kind = _put_value(out, value, depth - 1)
    _finish(out, start, _NAMED | kind << _TYPE_SHIFT)


def _finish(out: bytearray, start: int, word: int) -> None:
    length = len(out) - start
    if len(out) > MESSAGE_LIMIT:
        raise BlobError(f"larger than {MESSAGE_LIMIT} bytes")
    _WORD.pack_into(out, start, word | length)
    out += bytes(-length % 4)


def _put_value(out: bytearray, value: Any, depth: int) -> Type:
    if isinstance(value, str):
        out += _text(value) + b"\0"
        return Type.STRING
    if isinstance(value, dict):
        _put_table(out, value, depth)
        return Type.TABLE
    if isinstance(value, list | tuple):
        for item in value:
            _put(out, b"", item, depth)
        return Type.ARRAY
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return Type.UNSPEC
    kind = _number_type(value)
    out += _NUMBERS[kind].pack(value)
    return kind


def _number_type(value: Any) -> Type:
    if isinstance(value, bool):
        return Type.INT8
    if isinstance(value, float):
        return Type.DOUBLE
    if not isinstance(value, int):
        raise BlobError(f"no blobmsg type for {type(value).__name__}")
    if -(1 << 31) <= value < 1 << 31:
        return Type.INT32
    if -(1 << 63) <= value < 1 << 63:
        return Type.INT64
    raise BlobError("integer beyond 64 bits")


def _text(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise BlobError(f"text with a lone surrogate: {text[:40]!r}") from None
    if b"\0" in data:
        raise BlobError(f"text with a NUL: {text[:40]!r}")
    return data


class _Decoder:
    __slots__ = ("_data", "_left", "_strict")

    def __init__(self, data: bytes, strict: bool) -> None:
        self._data = data
        self._strict = strict
        self._left = VALUE_LIMIT

    def table(self, start: int, end: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for kind, named, first, last in self._attributes(start, end, depth):
            if not named:
                raise BlobError("value without a name in a table")
            value = self._value_start(first, last)
            (length,) = _NAME_LENGTH.unpack_from(self._data, first)
            if not length and self._strict:
                raise BlobError("value without a name in a table")
            name = self._text(first + _NAME_LENGTH.size, first + _NAME_LENGTH.size + length)
            found[name] = self._value(kind, value, last, depth - 1)
        return found

    def _array(self, start: int, end: int, depth: int) -> list[Any]:
        return [
            self._value(kind, self._value_start(first, last) if named else first, last, depth - 1)
            for kind, named, first, last in self._attributes(start, end, depth)
        ]

    def _attributes(self, start: int, end: int, depth: int) -> Iterator[tuple[int, bool, int, int]]:
        for found in walk(self._data, start, end):
            if not depth:
                raise BlobError(f"nested more than {DEPTH_LIMIT} deep")
            self._left -= 1
            if self._left < 0:
                raise BlobError(f"more than {VALUE_LIMIT} values")
            yield found

    def _value_start(self, first: int, last: int) -> int:
        """Past the name, which is checked to lie within the attribute and to be terminated."""
        if last - first < _NAME_LENGTH.size:
            raise BlobError("name cut short")
        length = int(_NAME_LENGTH.unpack_from(self._data, first)[0])
        start = first + ((_NAME_LENGTH.size + length + 1 + 3) & ~3)
        if start > last or self._data[first + _NAME_LENGTH.size + length]:
            raise BlobError("name cut short")
        return start

    def _value(self, kind: int, start: int, end: int, depth: int) -> Any:
        if kind == Type.TABLE:
            return self.table(start, end, depth)
        if kind == Type.ARRAY:
            return self._array(start, end, depth)
        if kind == Type.STRING:
            if start == end or self._data[end - 1]:
                raise BlobError("text without its terminating NUL")
            return self._text(start, end - 1)
        if kind == Type.UNSPEC:
            return None
        return self._number(kind, start, end)

    def _number(self, kind: int, start: int, end: int) -> bool | int | float | None:
        number = _NUMBERS.get(kind)  # type: ignore[call-overload]
        if number is None:
            raise BlobError(f"unknown type {kind}")
        if end - start != number.size:
            raise BlobError(f"number of {end - start} bytes where {number.size} belong")
        value: bool | int | float = number.unpack_from(self._data, start)[0]
        if kind == Type.INT8:
            return bool(value)
        if kind == Type.DOUBLE and not isfinite(value):
            return None
        return value

    def _text(self, start: int, end: int) -> str:
        data = self._data[start:end]
        if not self._strict:
            return data.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        if b"\0" in data:
            raise BlobError("text with a NUL")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise BlobError("text that is not UTF-8") from None
