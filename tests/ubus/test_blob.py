# SPDX-License-Identifier: GPL-2.0-or-later
"""blobmsg: what goes in comes out, and nothing that comes in does harm."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fuzz_blobmsg import SEEDS, mutations
from flowguard.ubus.blob import (
    DEPTH_LIMIT,
    MESSAGE_LIMIT,
    VALUE_LIMIT,
    BlobError,
    Type,
    attribute,
    decode,
    encode,
)

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
NAMES = TEXT.filter(bool)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=30,
)


def named(kind: int, name: bytes, payload: bytes) -> bytes:
    header = struct.pack(">H", len(name)) + name + b"\0"
    header += bytes(-len(header) % 4)
    blob = bytearray(attribute(kind, header + payload))
    blob[0] |= 0x80
    return bytes(blob)


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_what_is_encoded_decodes_to_the_same(table: dict[str, Any]) -> None:
    assert decode(encode(table)) == table


def test_the_bytes_are_those_of_libubox() -> None:
    # Taken from libubox: blobmsg_add_json_from_string and a hex dump.
    assert encode({"a": 1, "ok": True, "s": "hi"}) == bytes.fromhex(
        "8500000c" "00016100" "00000001"
        "8700000d" "00026f6b" "00000000" "01000000"
        "8300000b" "00017300" "68690000"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, Type.UNSPEC),
        (True, Type.INT8),
        ((1 << 31) - 1, Type.INT32),
        (1 << 31, Type.INT64),
        (-(1 << 31) - 1, Type.INT64),
        (0.5, Type.DOUBLE),
        ("", Type.STRING),
        ((), Type.ARRAY),
        ({}, Type.TABLE),
        (Type.TABLE, Type.INT32),
    ],
)
def test_each_value_has_its_type(value: Any, kind: Type) -> None:
    assert encode({"v": value})[0] == 0x80 | kind


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_leaves_and_arrives_as_null(value: float) -> None:
    assert encode({"v": [value]}) == encode({"v": [None]})
    assert decode(named(Type.DOUBLE, b"v", struct.pack(">d", value))) == {"v": None}


@pytest.mark.parametrize(
    "table",
    [
        {"v": 1 << 63},
        {"v": -(1 << 63) - 1},
        {"v": "\ud800"},
        {"v": "a\0b"},
        {"\ud800": 1},
        {"a\0b": 1},
        {"": 1},
        {1: 1},
        {"v": b"bytes"},
        {"v": object()},
        {"n" * 70000: 1},
        {"v": "x" * MESSAGE_LIMIT},
    ],
    ids=lambda table: repr(table)[:20],
)
def test_what_cannot_be_carried_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(BlobError):
        encode(table)


def test_depth_is_bounded_both_ways() -> None:
    def nested(depth: int) -> dict[str, Any]:
        return {"d": nested(depth - 1)} if depth else {}

    assert decode(encode(nested(DEPTH_LIMIT))) == nested(DEPTH_LIMIT)
    with pytest.raises(BlobError, match="deep"):
        encode(nested(DEPTH_LIMIT + 1))
    blob = b""
    while len(blob) < MESSAGE_LIMIT // 2:
        blob = named(Type.TABLE, b"d", blob) + named(Type.TABLE, b"d", b"")
    with pytest.raises(BlobError, match="deep"):
        decode(blob)


def test_circular_values_are_refused() -> None:
    table: dict[str, Any] = {}
    table["self"] = [table]
    with pytest.raises(BlobError, match="deep"):
        encode(table)


def test_work_is_bounded_by_the_number_of_values() -> None:
    begin = time.process_time()
    with pytest.raises(BlobError, match="values"):
        decode(named(Type.ARRAY, b"v", attribute(Type.ARRAY, b"") * (VALUE_LIMIT + 1)))
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    "data",
    [
        b"\x83",
        bytes(4),
        bytes.fromhex("83000003"),
        bytes.fromhex("83ffffff"),
        bytes.fromhex("83000005" "00"),
        bytes.fromhex("83000006" "00ff0000"),
        bytes.fromhex("83000009" "00016100" "00"),
        attribute(Type.STRING, b"no name\0"),
        bytes.fromhex("83000008" "00016161"),
        named(Type.STRING, b"v", b""),
        named(Type.STRING, b"v", b"open"),
        named(Type.STRING, b"v", b"\xff\0"),
        named(Type.STRING, b"v", b"a\0b\0"),
        named(Type.STRING, b"\xff", b"\0"),
        named(Type.INT8, b"", bytes(1)),
        named(Type.INT8, b"v", bytes(2)),
        named(Type.INT16, b"v", bytes(1)),
        named(Type.INT32, b"v", bytes(8)),
        named(Type.INT64, b"v", bytes(4)),
        named(Type.DOUBLE, b"v", b""),
        named(9, b"v", b""),
        named(Type.TABLE, b"v", bytes.fromhex("83000010")),
    ],
    ids=bytes.hex,
)  # fmt: skip
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BlobError):
        decode(data)


def test_what_only_other_encoders_write_is_read() -> None:
    assert decode(named(Type.INT16, b"v", b"\xff\xfe")) == {"v": -2}
    assert decode(named(Type.INT8, b"v", b"\x02")) == {"v": True}
    assert decode(named(Type.UNSPEC, b"v", b"what")) == {"v": None}
    assert decode(named(Type.ARRAY, b"v", attribute(Type.INT32, bytes(4)))) == {"v": [0]}
    assert decode(encode({"v": 1}) + encode({"v": 2})) == {"v": 2}


def test_replies_survive_odd_text() -> None:
    odd = named(Type.STRING, b"ssid\xff", b"caf\xe9\0") + named(Type.STRING, b"v", b"a\0b\0")
    odd += named(Type.INT8, b"", bytes(1))
    assert decode(odd, strict=False) == {"": False, "ssid\\xff": "caf\\xe9", "v": "a"}


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_decode_or_raise_the_one_error(data: bytes, strict: bool) -> None:
    try:
        decode(data, strict=strict)
    except BlobError:
        return


def test_damaged_messages_decode_or_raise_the_one_error() -> None:
    outcomes = set()
    for data in mutations(SEEDS, 3000, seed=5):
        try:
            decode(data)
            outcomes.add("decoded")
        except BlobError:
            outcomes.add("refused")
    assert outcomes == {"decoded", "refused"}
