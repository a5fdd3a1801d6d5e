# SPDX-License-Identifier: GPL-2.0-or-later
"""The sequential test is what was simulated, and keeps what its theory promises."""

from __future__ import annotations

import importlib.util
import math
import random
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from flowguard.core.arms.sequential_test import (
    ACT,
    BLOCK_OUTCOMES,
    BLOCK_SECONDS,
    EXCESS,
    TOLERANCE,
    Counts,
    Process,
    update,
)

TICK = 10.0
CONTROL_SHARE = 1 / 16
SIMULATION = Path(__file__).resolve().parents[4] / "shared/facts/sequential_test_sim.py"


class Reference:
    """The test as it was simulated: in ticks of ten seconds, plain floats.

    But for two things: the simulation took the base rate of the tick before the block closed,
    which knows outcomes of the block itself, if that lasted for several ticks; and it let the
    fault begin anew with blocks of one arm too, so that without evidence it grew all the same.
    """

    def __init__(self) -> None:
        self.values = [0.0] * 4
        self.block, self.age, self.restart_in = [0, 0, 0, 0], 0, 0
        self.failed, self.good, self.rate = 1.0, 99.0, 0.01

    def update(self, *counts: int) -> float:
        self.block = [a + b for a, b in zip(self.block, counts, strict=True)]
        self.age += 1
        self.restart_in -= 1
        total = sum(self.block)
        closes = total >= 16 or self.age >= 6
        if closes:
            if total:
                self.close(*self.block)
            self.block, self.age = [0, 0, 0, 0], 0
        keep = 0.5 ** (TICK / 1800)
        self.failed = 1 + (self.failed - 1) * keep + counts[2]
        self.good = 99 + (self.good - 99) * keep + counts[3]
        if closes:
            self.rate = min(0.5, max(0.002, self.failed / (self.failed + self.good)))
        return sum(self.values) / 4

    def close(self, tf: int, tg: int, cf: int, cg: int) -> None:
        share = min(1 - 1e-9, max(1e-9, (tf + tg) / (tf + tg + cf + cg)))
        qc = self.rate + 0.005 * (1 - self.rate)
        plus = 0.0
        if self.restart_in <= 0 and tf + tg and cf + cg:
            plus, self.restart_in = 1.0, 6
        for n, excess in enumerate((0.02, 0.08, 0.30, 0.95)):
            qt = qc + excess * (1 - qc)
            m = share * qt + (1 - share) * qc
            good = 0.995 * (1 - qc) / (1 - m) + 0.005 * qc / m
            log = tf * math.log(qt / m) + tg * math.log((1 - qt) / (1 - m))
            log += cf * math.log(qc / m) + cg * math.log(good)
            self.values[n] = min(1e200, (self.values[n] + plus) * math.exp(min(log, 300.0)))


def draw(
    rng: random.Random, outcomes: int, treated: float, control: float, share: float = CONTROL_SHARE
) -> Counts:
    """Outcomes that fail with the arm's probability, each flow drawn into an arm by itself."""
    counts = [0, 0, 0, 0]
    for _ in range(outcomes):
        arm = 2 if rng.random() < share else 0
        counts[arm + (rng.random() >= (control if arm else treated))] += 1
    return Counts(*counts)


def world(rng: random.Random, outcomes: float) -> Iterator[Counts]:
    """A day's worth of trouble in short: quiet, a fault, an outage of both arms, silence."""
    for treated, control, ticks in ((0.01, 0.01, 300), (0.2, 0.01, 60), (0.9, 0.9, 30), (0, 0, 50)):
        for _ in range(ticks):
            count = int(outcomes + rng.random()) if treated else 0
            yield draw(rng, count, treated, control, 0.2)


def assert_equal_to(reference: Callable[..., float], outcomes: float) -> None:
    process, highest = Process(), 0.0
    for n, counts in enumerate(world(random.Random(1), outcomes), 1):
        process = update(process, n * TICK, counts)
        expected = reference(
            counts.treated_failed, counts.treated_good, counts.control_failed, counts.control_good
        )
        assert math.isclose(process.value, expected, rel_tol=1e-9, abs_tol=1e-12)
        highest = max(highest, expected)
    assert highest > 5


# --- the same arithmetic as in the simulation --------------------------------------------


@pytest.mark.parametrize("outcomes", [0.3, 2.5, 13, 40, 300])
def test_in_ticks_of_ten_seconds_it_equals_the_reference(outcomes: float) -> None:
    assert_equal_to(Reference().update, outcomes)


@pytest.mark.skipif(
    not (SIMULATION.exists() and importlib.util.find_spec("numpy")), reason="no simulation here"
)
@pytest.mark.parametrize("outcomes", [16, 40, 300])
def test_with_a_block_in_each_tick_it_equals_the_simulation_itself(outcomes: float) -> None:
    spec = importlib.util.spec_from_file_location("simulation", SIMULATION)
    assert spec and spec.loader
    simulation: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulation)
    assert_equal_to(simulation.ESR().update, outcomes)


# --- validity -----------------------------------------------------------------------------


def probability(failed: int, count: int, rate: float) -> float:
    return math.comb(count, failed) * rate**failed * (1 - rate) ** (count - failed)


def expectations(
    treated: int, control: int, rate: float, arms: list[tuple[float, float]]
) -> list[float]:
    """The largest expected e-value of one block, for each pair of the arms' failure rates."""
    before = Process((1.0,) * 4, block_rate=rate, restarted=BLOCK_SECONDS)
    sums = [[0.0] * len(EXCESS) for _ in arms]
    for x, y in product(range(treated + 1), range(control + 1)):
        counts = Counts(x, treated - x, y, control - y)
        values = update(before, BLOCK_SECONDS, counts).values
        for total, (theta_t, theta_c) in zip(sums, arms, strict=True):
            weight = probability(x, treated, theta_t) * probability(y, control, theta_c)
            for n, value in enumerate(values):
                total[n] += weight * value
    return [max(total) for total in sums]


SIZES = [(1, 1), (15, 1), (1, 15), (14, 2), (8, 8), (2, 14), (16, 0), (0, 16), (30, 10)]
RATES = [0.002, 0.01, 0.2, 0.5]
THETAS = (0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.97, 1.0)


@pytest.mark.parametrize(("size", "rate"), list(product(SIZES, RATES)), ids=str)
def test_a_block_is_not_expected_to_raise_the_evidence_without_a_fault(
    size: tuple[int, int], rate: float
) -> None:
    sound = [(t, c) for c in THETAS for t in (c, c + TOLERANCE * (1 - c), c / 2, 0.0)]
    assert max(expectations(*size, rate, sound)) <= 1 + 1e-7


def test_a_block_is_expected_to_raise_it_when_treated_flows_fail_more_often() -> None:
    arms = [(c + 0.05, c) for c in (0.0, 0.01)]
    assert min(expectations(14, 2, 0.01, arms)) > 1.005


@pytest.mark.parametrize("theta", [0.01, 0.1, 0.3, 0.7])
@pytest.mark.parametrize("size", [(10, 5, 1), (8, 7, 1), (2, 8, 6), (6, 4, 6)], ids=str)
def test_the_bet_on_a_block_does_not_know_its_first_outcomes(
    size: tuple[int, int, int], theta: float
) -> None:
    treated, early, late = size
    start, total = Process((1.0,) * 4, restarted=0.0), [0.0] * len(EXCESS)
    for x, y, z in product(*(range(count + 1) for count in size)):
        opened = update(start, 10.0, Counts(x, treated - x, y, early - y))
        closed = update(opened, 20.0, Counts(0, 0, z, late - z))
        assert not closed.block.total
        weight = probability(x, treated, theta) * probability(y + z, early + late, theta)
        weight *= math.comb(early, y) * math.comb(late, z) / math.comb(early + late, y + z)
        total = [t + weight * value for t, value in zip(total, closed.values, strict=True)]
    assert max(total) <= 1 + 1e-9


def test_looking_all_the_time_does_not_raise_the_false_alarms_above_their_bound() -> None:
    rng, worlds, ticks = random.Random(2), 120, 240
    minutes, peaks = ticks * TICK / 60, []
    for _ in range(worlds):
        process, peak = Process(), 0.0
        for n in range(1, ticks + 1):
            rate = 0.02 if n % 60 else 0.5
            process = update(process, n * TICK, draw(rng, 18, rate, rate, 0.25))
            peak = max(peak, process.value)
        peaks.append(peak)
    assert max(peaks) > 1
    for threshold in (100.0, 400.0, 1000.0, ACT):
        alarms = sum(peak >= threshold for peak in peaks)
        assert alarms / worlds <= minutes / threshold


@pytest.mark.parametrize("level", [0.6, 1.0])
@pytest.mark.parametrize("outcomes", [10, 100])
def test_an_outage_of_both_arms_never_acts(outcomes: int, level: float) -> None:
    rng, process = random.Random(3), Process()
    for n in range(1, 720):
        rate = level if n % 72 >= 42 else 0.01
        process = update(process, n * TICK, draw(rng, outcomes, rate, rate))
        assert process.value < ACT


# --- power and time -----------------------------------------------------------------------


def test_a_broken_engine_is_proven_within_minutes() -> None:
    process = Process()
    for n in range(1, 13):
        process = update(process, n * TICK, Counts(9, 0, 0, 1))
    assert process.value >= ACT


def test_a_block_closes_by_its_outcomes_or_its_age() -> None:
    few = Counts(treated_good=BLOCK_OUTCOMES - 2, control_good=1)
    young = update(Process(), BLOCK_SECONDS - 1, few)
    assert (young.block, young.value) == (few, 0.0)
    full = update(young, BLOCK_SECONDS - 1, Counts(treated_good=1))
    old = update(young, BLOCK_SECONDS, Counts())
    assert (full.block, full.block_since) == (Counts(), BLOCK_SECONDS - 1)
    assert (old.block, old.block_since) == (Counts(), BLOCK_SECONDS)
    assert full.value > 0 and old.value > 0


def test_the_fault_may_begin_anew_once_a_minute_at_most() -> None:
    process = Process()
    begun: set[float | None] = set()
    for second in range(1, 122):
        process = update(process, float(second), Counts(treated_good=15, control_good=1))
        begun.add(process.restarted)
    assert begun == {1.0, 61.0, 121.0}


def test_outcomes_of_one_arm_alone_are_no_evidence() -> None:
    process = Process()
    for minute in range(1, 1000):
        process = update(process, 60.0 * minute, Counts(treated_failed=1))
    assert process.value == 0


def test_another_epoch_drops_the_open_block() -> None:
    opened = update(Process(), 10.0, Counts(10, 1, 1, 1))
    dropped = update(opened, 20.0, Counts(0, 2, 0, 0), epoch=1)
    assert dropped.block == Counts(0, 2, 0, 0)
    assert (dropped.block_since, dropped.epoch) == (20.0, 1)
    assert dropped.seen == Counts(10, 3, 1, 1)
    assert dropped.value == 0


def test_a_clock_that_went_back_drops_the_open_block_and_goes_on() -> None:
    before = update(update(Process(), 1000.0, Counts(16, 0, 0, 4)), 1010.0, Counts(1, 1, 1, 1))
    after = update(before, 5.0, Counts(1, 0, 0, 0))
    assert (after.block, after.values, after.updated) == (Counts(1), before.values, 5.0)
    again = update(after, 6.0, Counts(treated_good=1000))
    assert again.value <= after.value


def test_the_base_rate_follows_the_control_arm_and_forgets() -> None:
    process = update(Process(), 0.0, Counts(treated_failed=500, control_failed=100))
    assert process.base_rate == 0.5
    later = update(process, 1800.0, Counts())
    assert (later.base_failed, later.base_good) == (51.0, 99.0)
    assert update(process, 0.0, Counts(control_good=10**6)).base_rate == 0.002
