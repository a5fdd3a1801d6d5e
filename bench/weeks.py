# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole weeks without a fault through the real policy, and how soon it finds one.

Run: python -m bench.weeks --weeks 100 --first-seed 0
     python -m bench.weeks delays --runs 50

Simulated traffic of homes and offices: eight cells (family, protocol, pair) that fail at
rates of their own, judged at all ages, drawn as the policy asks. Outcomes come with the age
of their checkpoint, under the epoch in which their flows were born. The weeks have days and
nights, base rates that jump, servers that die, and outages of everything, of IPv6 and of
one pair; both arms suffer alike, so every step down is false.
"""

from __future__ import annotations

import argparse
import math
import random
import time as clock
from bisect import bisect
from collections import deque
from dataclasses import dataclass, field
from statistics import median

from bench.evidence import EXPECTED, NARROW, alarm, healthy, numbers, poisson
from bench.evidence import Router as BareTest
from bench.households import AGES, CALM, CELLS, TROUBLES, Born, Draw, Trouble, means
from bench.virtual import UPTIME, Router, quantile
from flowguard.core.arms.draw import (
    ANSWERED_CHECKPOINTS,
    FIRST_CHECKPOINT,
    Births,
    OutcomeKind,
    Outcomes,
)
from flowguard.core.arms.sequential_test import Counts, Process
from flowguard.core.events import FlowsJudged

WEEK = 7 * 86400.0
HEALTHY_SECONDS = 6 * 3600.0
GIVE_UP = 86400.0
FAST_TICK = 5.0
LONGEST_AGE = ANSWERED_CHECKPOINTS[-1]
RATE_STEPS = 48  # a day
PEAK_RATES = (0.05, 0.3, 1.0, 5.0, 20.0)  # connections a second, in the evening
BURST_EVERY = 1800.0  # seconds between servers that die under 30 to 200 connections


@dataclass
class World:
    """Traffic that the policy judges; `tick` lets some seconds pass."""

    rng: random.Random
    rate: float
    even: bool = False  # See households.Draw.
    router: Router = field(default_factory=lambda: Router().start())
    time: float = UPTIME
    history: deque[Born] = field(default_factory=deque)
    harmed: int = 0  # treated flows that failed at the first age

    def tick(
        self, seconds: float, trouble: Trouble = CALM, fault: float = 0.0, burst: int = 0
    ) -> bool:
        """Whether the policy stepped down at the end of these seconds."""
        state = self.router.state
        draw = Draw(self.rate, self.router.control_share, self.router.observe_share, self.even)
        self.history.append(Born(self.time, state.epoch, draw))
        self.time += seconds
        while len(self.history) > 1 and self.history[1].since <= self.time - LONGEST_AGE - seconds:
            self.history.popleft()
        rows: list[Outcomes] = []
        for kind, age in AGES:
            rows += self._outcomes(kind, age, seconds, trouble, fault)
        if burst:
            rows.append(self._burst(burst))
        event = FlowsJudged(self.time, tuple(rows), self._births(seconds), int(self._observed()))
        return self.router.judge(event)

    def _observed(self) -> float:
        """How many flows are being watched."""
        oldest, youngest = self.time - LONGEST_AGE, self.time - FIRST_CHECKPOINT
        end, flows = self.time, 0.0
        for born in reversed(self.history):
            young = max(0.0, end - max(born.since, youngest))
            older = max(0.0, end - max(born.since, oldest)) - young
            flows += born.draw.observed * (young + older * born.draw.followed)
            end = born.since
        return flows

    def _born(self, age: float) -> Born | None:
        """The draw under which those were born that are of this age now."""
        at = self.time - age
        return next((born for born in reversed(self.history) if born.since < at), None)

    def _outcomes(
        self, kind: OutcomeKind, age: int, seconds: float, trouble: Trouble, fault: float
    ) -> list[Outcomes]:
        born, rows = self._born(age), []
        if born is None:
            return []
        random = self.rng.random
        for cell, tables in means(kind, age, born.draw, trouble, fault, seconds):
            drawn = [bisect(table, random()) for table in tables]
            if any(drawn):
                counts = Counts(*drawn)
                place = (cell.family, cell.protocol, cell.pair)
                rows.append(Outcomes(kind, age, *place, born.epoch, counts))
                if age == FIRST_CHECKPOINT:
                    self.harmed += drawn[0]
        return rows

    def _births(self, seconds: float) -> tuple[Births, ...]:
        born = self._born(FIRST_CHECKPOINT)
        if born is None or born.epoch != self.router.state.epoch:
            return ()
        draw = born.draw
        flows, control = draw.observed * seconds, 1 / draw.control_share
        drawn = [poisson(self.rng, flows * part) for part in (1 - control, control)]
        return (Births(born.epoch, draw.control_share, *drawn),)

    def _burst(self, flows: int) -> Outcomes:
        """A server dies: these connections of one cell fail together."""
        born = self._born(FIRST_CHECKPOINT) or self.history[-1]
        cell = self.rng.choice(CELLS)
        drawn = sum(self.rng.random() < 1 / born.draw.observe_share for _ in range(flows))
        control = sum(self.rng.random() < 1 / born.draw.control_share for _ in range(drawn))
        counts = Counts(treated_failed=drawn - control, control_failed=control)
        place = (cell.family, cell.protocol, cell.pair)
        return Outcomes(OutcomeKind.ANSWERED, FIRST_CHECKPOINT, *place, born.epoch, counts)


# --- weeks without a fault ------------------------------------------------------------------


def calendar(rng: random.Random) -> list[tuple[float, float, Trouble]]:
    """When which trouble begins and ends in a week."""
    found = []
    for trouble, often, (shortest, longest) in TROUBLES:
        for _ in range(often):
            begin = rng.uniform(0, WEEK)
            found.append((begin, begin + rng.uniform(shortest, longest), trouble))
    return found


def diurnal(step: int, peak: float) -> float:
    """Nights have a fiftieth of the evening's connections."""
    down = 0.5 + 0.5 * math.cos(2 * math.pi * (step - 16) / RATE_STEPS)
    return peak * math.pow(50, -down)


def week(seed: int, tick: float) -> World:
    rng = random.Random(seed)
    peak = PEAK_RATES[seed % len(PEAK_RATES)]
    world, troubles = World(rng, peak), calendar(rng)
    for number in range(int(WEEK / tick)):
        passed = number * tick
        world.rate = diurnal(int(passed / 86400 * RATE_STEPS) % RATE_STEPS, peak)
        now = [t for begin, end, t in troubles if begin <= passed < end]
        burst = rng.randint(30, 200) if rng.random() < tick / BURST_EVERY else 0
        world.tick(tick, now[0] if now else CALM, burst=burst)
    return world


def show_weeks(weeks: int, first: int, tick: float) -> None:
    print(f"weeks without a fault, ticks of {tick:g} s; seeds {first} to {first + weeks - 1}")
    print("   weeks  steps down  highest evidence  suspicious  share check broken  seconds a week")
    began, steps, peak, suspicious, broken = clock.perf_counter(), 0, 0.0, 0.0, 0
    for done, seed in enumerate(range(first, first + weeks), 1):
        router = week(seed, tick).router
        steps += len(router.steps)
        peak = max(peak, router.peak)
        suspicious += router.suspicious / router.looks
        broken += router.state.detector.share.broken
        if router.steps:
            print(f"    seed {seed}: {router.steps[0]}", flush=True)
        if done % 10 == 0 or done == weeks:
            seconds = (clock.perf_counter() - began) / done
            print(
                f"{done:8}  {steps:10}  {peak:16.3g}  {suspicious / done:10.3%}"
                f"  {broken:18}  {seconds:14.1f}",
                flush=True,
            )


# --- how soon a fault is found --------------------------------------------------------------


def delay(rate: float, fault: float, seed: int, even: bool) -> tuple[float, int]:
    """Seconds until the step, the outcomes' age left out, and treated failures until then."""
    world = World(random.Random(seed), rate, even)
    for _ in range(int(HEALTHY_SECONDS / 60)):
        world.tick(60)
    for _ in range(60 + seed % 12):
        world.tick(FAST_TICK)
    world.router.steps.clear()
    began, world.harmed = world.time, 0
    while world.time - began < GIVE_UP:
        if world.tick(FAST_TICK, fault=fault):
            return world.time - began, world.harmed
    return math.inf, world.harmed


def bare_delay(rate: float, fault: float, seed: int) -> float:
    """Of one test that knows all outcomes' age: a wider share shows only so much later."""
    unjudged = (NARROW,) * int(FIRST_CHECKPOINT / FAST_TICK)
    bare = BareTest(random.Random(seed), Process(), tick=FAST_TICK, unjudged=unjudged)
    return alarm(healthy(rate, bare, seed), rate, fault)[0]


def show_delays(runs: int, rates: list[float], faults: list[float], even: bool) -> None:
    print("seconds until the alarm, median/90 %; the age of the youngest outcomes,")
    print(f"{FIRST_CHECKPOINT} s, comes on top. Bare: one test alone, with this fault to find only")
    print(" rate  failing    policy  failures  bare, outcomes of that age  bare, without age")
    for rate in rates:
        for fault in faults:
            found = [delay(rate, fault, seed, even) for seed in range(runs)]
            bare = [bare_delay(rate, fault, seed) for seed in range(runs)]
            ageless = EXPECTED.get((int(rate), fault))
            print(
                f"{rate:3g}/s  {fault:7.0%}{_spread([d for d, _ in found]):>10}"
                f"{median(h for _, h in found):10.0f}{_spread(bare):>28}"
                + ("{:>13.0f}/{:.0f}".format(*ageless) if ageless else f"{'-':>14}"),
                flush=True,
            )


def _spread(delays: list[float]) -> str:
    return f"{median(delays):.0f}/{quantile(delays, 0.9):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="The policy on simulated weeks.")
    parser.add_argument("what", nargs="?", default="weeks", choices=("weeks", "delays"))
    parser.add_argument("--weeks", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tick", type=float, default=60.0, help="seconds")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--rates", type=numbers, default=[1.0, 10.0, 100.0])
    parser.add_argument("--failures", type=numbers, default=[0.05, 0.2, 0.5, 1.0])
    parser.add_argument("--even", action="store_true", help="the traffic of the table")
    options = parser.parse_args()
    if options.what == "delays":
        show_delays(options.runs, options.rates, options.failures, options.even)
    else:
        show_weeks(options.weeks, options.first_seed, options.tick)


if __name__ == "__main__":
    main()
