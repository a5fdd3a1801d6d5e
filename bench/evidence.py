# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon the sequential test finds a fault, how often it errs, and what an update costs.

Run: python -m bench.evidence delay --runs 100 --rates 1,10,100 --failures 0.05,0.2,0.5,1.0
     python -m bench.evidence null --runs 10 --rates 1,10,100
     python -m bench.evidence cpu

Simulated connections, one tick each ten seconds; the control arm fails at 1 % and has 1 in
16 connections, under suspicion 1 in 2. Outcomes are taken as known at once: on a router the
age at which a connection is judged comes on top of each delay.
"""

from __future__ import annotations

import argparse
import math
import random
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from statistics import median

from bench.fault_matcher import best
from flowguard.core.arms.sequential_test import ACT, Counts, Process, update
from flowguard.core.records import replace

TICK = 10.0
NARROW, WIDE = 1 / 16, 1 / 2
# Above and below which evidence the table of expected delays widens the control share.
SUSPECT, RELAX = 100.0, 10.0
BASE_RATE = 0.01
DAY = 86400.0
HEALTHY_SECONDS = 6 * 3600.0
UPDATES = 20_000

# (connections a second, failing share of the treated): seconds until the alarm, median and
# 90 %, and treated failures until then, as simulated with 1000 runs when the test was chosen.
EXPECTED = {
    (1, 0.05): (2795, 4510, 93),
    (1, 0.2): (430, 640, 60),
    (1, 0.5): (160, 230, 58),
    (1, 1.0): (70, 110, 52),
    (10, 0.05): (470, 700, 181),
    (10, 0.2): (70, 100, 119),
    (10, 0.5): (30, 40, 127),
    (10, 1.0): (20, 30, 154),
    (100, 0.05): (80, 110, 318),
    (100, 0.2): (20, 30, 409),
    (100, 0.5): (10, 20, 475),
    (100, 1.0): (10, 10, 940),
}


@cache
def cumulative(mean: float) -> tuple[float, ...]:
    """The distribution function of a Poisson variable, as far as a float can tell."""
    highest = int(mean + 12 * math.sqrt(mean) + 20)
    logs = (n * math.log(mean) - mean - math.lgamma(n + 1) for n in range(highest))
    return tuple(accumulate(math.exp(log) for log in logs))


def poisson(rng: random.Random, mean: float) -> int:
    return bisect(cumulative(mean), rng.random()) if mean > 0 else 0


@dataclass(slots=True)
class Router:
    """A process and the control share that follows from its evidence.

    `tick` is in seconds. `unjudged` are the shares by which those were drawn whose outcomes
    are still to come, a tick each, oldest first.
    """

    rng: random.Random
    process: Process
    share: float = NARROW
    tick: float = TICK
    wanted: float = NARROW
    unjudged: tuple[float, ...] = ()

    def pass_tick(self, rate: float, treated: float, control: float, burst: int = 0) -> Counts:
        """A tick with `rate` connections a second, failing per arm; a burst all fails."""
        at_control = sum(self.rng.random() < self.share for _ in range(burst))
        flows = rate * self.tick
        arms = ((1 - self.share) * flows, treated), (self.share * flows, control)
        drawn = [poisson(self.rng, n * p) for n, theta in arms for p in (theta, 1 - theta)]
        counts = Counts(*drawn) + Counts(burst - at_control, 0, at_control, 0)
        now = self.process.updated + self.tick
        self.process = update(self.process, now, counts, self.process.epoch)
        self.steer(now)
        return counts

    def steer(self, now: float) -> None:
        value, before = self.process.value, self.share
        if value >= SUSPECT:
            self.wanted = WIDE
        elif value < RELAX:
            self.wanted = NARROW
        self.share, *unjudged = *self.unjudged, self.wanted
        self.unjudged = tuple(unjudged)
        if self.share != before:
            self.process = update(self.process, now, Counts(), self.process.epoch + 1)


# --- how soon a fault is found --------------------------------------------------------------


def healthy(rate: float, router: Router, seed: int) -> Router:
    """The router after so much time without a fault."""
    for _ in range(int(HEALTHY_SECONDS / router.tick) + seed % 6):
        router.pass_tick(rate, BASE_RATE, BASE_RATE)
        if router.process.value >= ACT:
            router.process = replace(router.process, values=(0.0,) * 4)
    return router


def alarm(router: Router, rate: float, failing: float) -> tuple[float, int]:
    """Seconds until the evidence suffices, and the treated flows that failed until then."""
    began, harmed = router.process.updated, 0
    while router.process.value < ACT:
        harmed += router.pass_tick(rate, failing, BASE_RATE).treated_failed
        if router.process.updated - began > DAY:
            return math.inf, harmed
    return router.process.updated - began, harmed


def show_delays(runs: int, rates: list[float], failures: list[float]) -> None:
    print(" rate  failing   median    90 %  failures     expected")
    for rate in rates:
        histories = [
            healthy(rate, Router(random.Random(seed), Process()), seed) for seed in range(runs)
        ]
        for failing in failures:
            found = [
                alarm(replace(h, rng=random.Random(n)), rate, failing)
                for n, h in enumerate(histories)
            ]
            delays, harmed = [delay for delay, _ in found], [harm for _, harm in found]
            late = sorted(delays)[runs * 9 // 10]
            expected = EXPECTED.get((int(rate), failing))
            print(
                f"{rate:3g}/s  {failing:7.0%}  {median(delays):5.0f} s {late:5.0f} s"
                f"  {median(harmed):8.0f}     "
                + ("{} s / {} s, {}".format(*expected) if expected else "-"),
                flush=True,
            )


# --- how often it errs ----------------------------------------------------------------------

# At a time: the rate of failure in both arms, and how many more connections fail together.
World = Callable[[float, random.Random], tuple[float, int]]


def flat(time: float, rng: random.Random) -> tuple[float, int]:
    return BASE_RATE, 0


def diurnal(time: float, rng: random.Random) -> tuple[float, int]:
    """0.2 % to 5 % over the day, in steps, and twenty times that for ten minutes a day."""
    step = time // 600
    rate = 0.002 * 25 ** (0.5 + 0.5 * math.sin(2 * math.pi * (step % 144) / 144))
    jumps = step % 149 == 100  # at another hour each day
    return (min(0.9, 20 * rate) if jumps else rate), 0


def bursts(time: float, rng: random.Random) -> tuple[float, int]:
    """As diurnal, and every ten minutes a server dies under 30 to 200 connections."""
    dies = rng.random() < TICK / 600
    return diurnal(time, rng)[0], rng.randint(30, 200) if dies else 0


def outages(time: float, rng: random.Random) -> tuple[float, int]:
    """Everything fails for five minutes an hour, in both arms."""
    return (1.0 if time % 3600 >= 3300 else BASE_RATE), 0


def week(rate: float, world: World, seed: int) -> tuple[float, float]:
    """The highest evidence without any fault, and the share of time under suspicion."""
    router, highest, suspicious = Router(random.Random(seed), Process()), 0.0, 0
    ticks = int(7 * DAY / TICK)
    for _ in range(ticks):
        theta, burst = world(router.process.updated, router.rng)
        router.pass_tick(rate, theta, theta, burst)
        highest = max(highest, router.process.value)
        suspicious += router.share == WIDE
    return highest, suspicious / ticks


def show_null(runs: int, rates: list[float]) -> None:
    print(f"weeks without a fault; at most {7 * 1440 / ACT:.1%} may have an alarm")
    print(" rate  world    weeks  alarms  highest evidence  suspicious")
    for rate in rates:
        for world in (flat, diurnal, bursts, outages):
            weeks = [week(rate, world, seed) for seed in range(runs)]
            peaks = [peak for peak, _ in weeks]
            print(
                f"{rate:3g}/s  {world.__name__:7}  {runs:5}  {sum(p >= ACT for p in peaks):6}"
                f"  {max(peaks):16.3g}  {sum(s for _, s in weeks) / runs:10.2%}",
                flush=True,
            )


# --- what it costs --------------------------------------------------------------------------


def show_cost() -> None:
    for name, counts in {
        "nothing happened": Counts(),
        "an outcome, block stays open": Counts(treated_good=1),
        "a block closes": Counts(1, 20, 0, 2),
    }.items():
        step = 1.0 if counts.total == 1 else TICK

        def run(counts: Counts = counts, step: float = step) -> None:
            process = Process()
            for n in range(UPDATES):
                process = update(process, n * step, counts)

        print(f"{name:30}{best(run) / UPDATES * 1e6:6.1f} us an update")


def numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description="The sequential test, simulated.")
    parser.add_argument("what", nargs="?", default="delay", choices=("delay", "null", "cpu"))
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rates", type=numbers, default=[1.0, 10.0, 100.0])
    parser.add_argument("--failures", type=numbers, default=[0.05, 0.2, 0.5, 1.0])
    options = parser.parse_args()
    if options.what == "cpu":
        show_cost()
    elif options.what == "null":
        show_null(options.runs, options.rates)
    else:
        show_delays(options.runs, options.rates, options.failures)


if __name__ == "__main__":
    main()
