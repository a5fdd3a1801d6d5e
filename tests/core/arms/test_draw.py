# SPDX-License-Identifier: GPL-2.0-or-later
"""How the hash of a connection draws its arm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.arms.draw import (
    BUCKETS,
    HASH_BITS,
    Draw,
    bucket_of,
    first_seed,
    is_watched,
    next_seed,
)
from flowguard.core.arms.jhash import ByteOrder, jhash

KEY = bytes((37 * number + 200) % 256 for number in range(40))
hashes = st.integers(0, (1 << HASH_BITS) - 1)


@pytest.mark.parametrize(
    ("size", "seed", "little", "big"),
    # By a C program made of include/linux/jhash.h of Linux 6.12, once with its words swapped.
    [
        (0, 0, 0xDEADBEEF, 0xDEADBEEF),
        (5, 0x12345678, 0xE7906699, 0xE7906699),
        (12, 1, 0x8C63C160, 0x8C63C160),
        (16, 0, 0x9FE02CC1, 0x3524F383),
        (16, 0xFFFFFFFF, 0xB66B06A7, 0x732D739C),
        (40, 0x12345678, 0xF8B7B258, 0xC7F960BD),
    ],
)
def test_the_hash_is_the_kernels(size: int, seed: int, little: int, big: int) -> None:
    orders: tuple[tuple[ByteOrder, int], ...] = (("little", little), ("big", big))
    for order, expected in orders:
        assert jhash(KEY[:size], seed, order) == expected


@given(hashes)
def test_buckets_are_the_upper_bits(connection_hash: int) -> None:
    assert 0 <= bucket_of(connection_hash) < BUCKETS
    assert bucket_of(connection_hash) == connection_hash >> 12


@given(hashes, st.sampled_from([1, 4, 16, 64, 256, 1024]))
def test_who_is_watched_at_a_smaller_share_is_watched_at_a_larger_one(
    connection_hash: int, share: int
) -> None:
    if is_watched(connection_hash, 4 * share):
        assert is_watched(connection_hash, share)
    assert is_watched(connection_hash, 1)


def test_shares_of_buckets() -> None:
    assert Draw().control_below(16) == BUCKETS // 16
    assert Draw(control_share=2).control_below(16) == BUCKETS // 2
    assert Draw().control_below(0) == Draw(control_share=0).control_below(16) == 0
    assert Draw(canary=16).control_below(16) == BUCKETS // 16 * 15
    assert Draw().control_below(1000) / BUCKETS == pytest.approx(1 / 1000, rel=1e-3)


@given(hashes)
def test_whoever_a_canary_treats_is_treated_at_every_later_share(connection_hash: int) -> None:
    stages = [Draw(canary=16), Draw(canary=4), Draw(control_share=2), Draw()]
    treated = [bucket_of(connection_hash) >= stage.control_below(16) for stage in stages]
    assert treated == sorted(treated)


def test_seeds_follow_from_the_boot_and_each_other() -> None:
    first = first_seed("9b2f5a0e-6c1d-4b54-8a51-0d5f3f4d5a11")
    assert first == first_seed("9b2f5a0e-6c1d-4b54-8a51-0d5f3f4d5a11")
    seeds = [first]
    for _ in range(1000):
        seeds.append(next_seed(seeds[-1]))
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 1 << 32 for seed in seeds)
