# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold for the evidence whatever is counted, and what people are told about it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.arms.sequential_test import (
    ACT,
    BLOCK_OUTCOMES,
    Counts,
    Process,
    combined,
    failures_needed,
    update,
)
from flowguard.core.records import replace
from flowguard.core.serial import from_json, to_json

TICK = 10.0

shares = st.floats(0.01, 0.99)
numbers = st.integers(0, 40) | st.integers(0, 10**7)
outcomes_of_a_tick = st.builds(Counts, numbers, numbers, numbers, numbers)
histories = st.lists(
    st.tuples(st.floats(-50, 400), outcomes_of_a_tick, st.integers(0, 1)), max_size=20
)


def after(history: list[tuple[float, Counts, int]]) -> Iterator[Process]:
    process, time = Process(), 0.0
    for step, counts, epoch in history:
        time = max(0.0, time + step)
        process = update(process, time, counts, epoch)
        yield process


@given(histories)
def test_the_evidence_is_always_a_number(history: list[tuple[float, Counts, int]]) -> None:
    for process in after(history):
        assert all(0 <= value <= 1e200 for value in process.values)
        assert 0 < process.base_rate <= 0.5


@given(histories)
def test_every_outcome_is_seen_once(history: list[tuple[float, Counts, int]]) -> None:
    for n, process in enumerate(after(history), 1):
        assert process.seen == reduce(Counts.__add__, (counts for _, counts, _ in history[:n]))
        assert process.block.total < BLOCK_OUTCOMES


@given(histories)
def test_a_process_survives_json(history: list[tuple[float, Counts, int]]) -> None:
    for process in after(history):
        assert from_json(Process, json.loads(json.dumps(to_json(process)))) == process


few = st.integers(0, 1)


@given(histories, st.lists(st.builds(Counts, few, few, few, few), max_size=3), st.randoms())
def test_the_order_of_outcomes_within_a_tick_does_not_matter(
    history: list[tuple[float, Counts, int]], cells: list[Counts], rng: random.Random
) -> None:
    start = update(Process(), 0.0, Counts()) if not history else list(after(history))[-1]
    start = replace(start, block=Counts(), block_since=start.updated)
    shuffled = rng.sample(cells, len(cells))
    first, second = (
        reduce(lambda p, counts: update(p, p.updated, counts, p.epoch), order, start)
        for order in (cells, shuffled)
    )
    assert first.block == second.block == reduce(Counts.__add__, cells, Counts())
    assert first.base_rate == pytest.approx(second.base_rate)
    assert first.values == second.values == start.values


def test_processes_are_combined_by_their_weights() -> None:
    first, second = Process((4.0,) * 4), Process((0.0, 0.0, 0.0, 40.0))
    assert combined([(0.25, first), (0.75, second)]) == 8.5
    assert combined([]) == 0


@pytest.mark.parametrize("treated_per_tick", [8, 15])
def test_so_many_failures_are_needed_as_it_is_said(treated_per_tick: int) -> None:
    counts = Counts(treated_failed=treated_per_tick, control_good=16 - treated_per_tick)
    process, failures = Process(), 0
    said = failures_needed(process, ACT, treated_per_tick / 16)
    assert said
    while process.value < ACT:
        process = update(process, process.updated + TICK, counts)
        failures += treated_per_tick
    assert said <= failures <= said + 2 * treated_per_tick


@given(histories, shares, st.floats(1, 1e9), st.floats(1, 10))
def test_a_higher_threshold_never_needs_fewer_failures(
    history: list[tuple[float, Counts, int]], share: float, threshold: float, factor: float
) -> None:
    for process in after(history):
        low = failures_needed(process, threshold, share)
        high = failures_needed(process, threshold * factor, share)
        assert high is None or (low is not None and low <= high)
        assert (low == 0) == (process.value >= threshold)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_a_second_arm_nothing_can_be_proven(share: float) -> None:
    assert failures_needed(Process(), ACT, share) is None
