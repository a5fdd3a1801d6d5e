# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged blobmsg by the million: every input decodes or raises BlobError, none takes long.

Run: python -m bench.fuzz_blobmsg [--inputs 1000000] [--seed 1]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence

from flowguard.ubus.blob import MESSAGE_LIMIT, BlobError, Type, attribute, decode, encode
from flowguard.ubus.wire import (
    Attribute,
    Message,
    MessageType,
    ProtocolError,
    Splitter,
    id_attribute,
    pack,
    parse,
    text_attribute,
)

SLOWEST = 2.0
"""Seconds of processor time for one input; a mebibyte of tiny values is the worst."""
SEEDS = (
    encode({"level": "software", "ubus_rpc_session": "0" * 32}),
    encode({"a": {"b": {"c": [1, 2.5, None, True, "ü", {"d": []}]}}, "e": 1 << 40, "f": -1}),
    encode({"devices": [{"name": f"lan{n}", "up": True, "speed": 1000} for n in range(4)]}),
    encode({"deep": [[[[[[[["x"]]]]]]]]}),
    attribute(Type.ARRAY, attribute(Type.INT16, b"\0\1") * 3),
    b"",
)
LENGTHS = (0, 1, 3, 4, 5, 8, 0x7FFF, 0x8000, 0xFFFFFF)


def mutations(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Seeds with bits, bytes, lengths and lumps changed, cut, doubled, moved and put together."""
    source = random.Random(seed)
    for _ in range(count):
        data = bytearray(source.choice(seeds))
        for _ in range(source.randint(1, 4)):
            _mutate(data, source, seeds)
        yield bytes(data)


def _mutate(data: bytearray, source: random.Random, seeds: Sequence[bytes]) -> None:
    at = source.randrange(len(data) + 1)
    end = min(len(data), at + source.randint(1, 16))
    match source.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << source.randrange(8)
        case 1 if at < len(data):
            data[at] = source.randrange(256)
        case 2:
            word = source.choice(LENGTHS) | source.randrange(256) << 24
            data[at & ~3 : (at & ~3) + 4] = word.to_bytes(4, "big")
        case 3:
            del data[at:end]
        case 4:
            data[at:at] = data[at:end] * source.randint(1, 4)
        case 5:
            data[at:at] = source.randbytes(source.randint(1, 8))
        case _:
            data += source.choice(seeds)


def worst() -> Iterator[bytes]:
    """Full messages of what costs most: nesting, tiny values, long names."""
    nested = b""
    while len(nested) < 4096:
        nested = attribute(Type.ARRAY, nested)
    yield named_array(nested * (MESSAGE_LIMIT // len(nested) - 1))
    for kind in Type:
        yield named_array(attribute(kind, b"") * (MESSAGE_LIMIT // 4 - 64))
    yield encode({"x" * 60000: 1}) * 17


def named_array(payload: bytes) -> bytes:
    blob = bytearray(attribute(Type.ARRAY, b"\0\1v\0" + payload))
    blob[0] |= 0x80
    return bytes(blob)


def splits(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Whole messages, damaged the same way."""
    messages = [
        pack(
            Message(
                MessageType.INVOKE,
                7,
                1,
                id_attribute(Attribute.OBJECT_ID, 1 << 31)
                + text_attribute(Attribute.METHOD, "status")
                + attribute(Attribute.DATA, payload),
            )
        )
        for payload in seeds
    ]
    return mutations(messages, count, seed)


def receive(data: bytes) -> None:
    """What a connection does with bytes from the socket."""
    for message in Splitter().feed(data):
        found = parse(message.body)
        decode(found.data or b"")
        decode(found.data or b"", strict=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.fuzz_blobmsg")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    half = options.inputs // 2
    runs = (
        ("worst cases", decode, worst()),
        ("values", decode, mutations(SEEDS, options.inputs - half, options.seed)),
        ("messages", receive, splits(SEEDS, half, options.seed)),
    )
    status = 0
    for name, action, inputs in runs:
        fine = refused = 0
        longest = 0.0
        for data in inputs:
            begin = time.process_time()
            try:
                action(data)
                fine += 1
            except (BlobError, ProtocolError):
                refused += 1
            longest = max(longest, time.process_time() - begin)
        print(f"{name:<12} {fine} decoded, {refused} refused, slowest {longest * 1e3:.1f} ms")
        status |= longest > SLOWEST
    return status


if __name__ == "__main__":
    sys.exit(main())
