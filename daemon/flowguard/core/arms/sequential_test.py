# SPDX-License-Identifier: GPL-2.0-or-later
"""The sequential test: do treated flows fail more often than flows of the control arm?

Counts go in, evidence comes out. Outcomes are collected in blocks. Each block gives one
e-value per alternative: the two-stream Bernoulli test of Turner, Ly and Grünwald ("Generic
E-variables for exact sequential k-sample tests", arXiv:2106.02693), one-sided and with a
tolerated excess. While treated flows fail at most TOLERANCE more often, its expectation is
at most 1, whatever the common rate of failure is and however it moves: an outage that hits
both arms proves nothing. A Shiryaev-Roberts recursion (Pollak 1985; Shin, Ramdas and
Rinaldo, "E-detectors", NEJSDS) multiplies the blocks up from every possible beginning of
the fault, so that P(any false alarm within N minutes) <= N / ACT.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from flowguard.core.records import frozen, replace

EXCESS = (0.02, 0.08, 0.30, 0.95)  # the alternatives: excess probability of failure
TOLERANCE = 0.005  # excess probability of failure that is no fault
BLOCK_OUTCOMES = 16
BLOCK_SECONDS = 60.0
RESTART_SECONDS = 60.0
PRIOR_FAILED, PRIOR_GOOD = 1.0, 99.0  # outcomes the base rate begins with: 1 %
HALF_LIFE = 1800.0  # seconds until an outcome counts half in the base rate
ACT = 1e6
# Above and below which suspicion the control arm is widened and narrowed again. Without a
# fault it is wide for about 1 % of the time.
SUSPECT = 3.0
RELAX = 2.0
SHARE_LIMIT = 1e4

_RATE_LOWEST, _RATE_HIGHEST = 0.002, 0.5
_SHARE_MARGIN = 1e-9
_LOG_FACTOR_LIMIT = 300.0
_VALUE_LIMIT = 1e200

_Values = tuple[float, float, float, float]


@frozen
class Counts:
    """Outcomes of both arms."""

    treated_failed: int = 0
    treated_good: int = 0
    control_failed: int = 0
    control_good: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.treated_failed + other.treated_failed,
            self.treated_good + other.treated_good,
            self.control_failed + other.control_failed,
            self.control_good + other.control_good,
        )

    @property
    def treated(self) -> int:
        return self.treated_failed + self.treated_good

    @property
    def control(self) -> int:
        return self.control_failed + self.control_good

    @property
    def total(self) -> int:
        return self.treated + self.control


@frozen
class Process:
    """One sequential test; times in seconds of the monotonic clock.

    `values` is the evidence per alternative of EXCESS. `block` is the open block, counted
    since `block_since`, when the last one closed or was dropped; `block_rate` is the base rate
    of then, since a bet must be made before its outcomes are known. `restarted` is the last
    time a new beginning of the fault was admitted. `cusums` is what suspicion is made of.
    `base_failed` and `base_good` are the decayed outcomes of the control arm, as of
    `updated`. `seen` is everything counted since the process began, for people.
    """

    values: _Values = (0.0, 0.0, 0.0, 0.0)
    block: Counts = Counts()
    block_since: float = 0.0
    block_rate: float = PRIOR_FAILED / (PRIOR_FAILED + PRIOR_GOOD)
    restarted: float | None = None
    cusums: _Values = (1.0, 1.0, 1.0, 1.0)
    base_failed: float = PRIOR_FAILED
    base_good: float = PRIOR_GOOD
    updated: float = 0.0
    epoch: int = 0
    seen: Counts = Counts()

    @property
    def value(self) -> float:
        """The evidence: a fault is proven when it reaches ACT."""
        return sum(self.values) / len(self.values)

    @property
    def suspicion(self) -> float:
        """Whether a closer look is worth its price; unlike `value` it proves nothing.

        Page's CUSUM ("Continuous inspection schemes", Biometrika 41, 1954) of the same
        blocks, 1 when nothing speaks for a fault. Without one `value` hovers, since every
        minute admits a new beginning, and the higher the less traffic there is to speak
        against a small excess.
        """
        return sum(self.cusums) / len(self.cusums)

    @property
    def base_rate(self) -> float:
        """The control arm's rate of failure, within the bounds that the test can use."""
        return _rate(self.base_failed, self.base_good)


def update(process: Process, time: float, counts: Counts, epoch: int = 0) -> Process:
    """The process after the outcomes that were judged since the last update.

    Both arms' outcomes must be judged at the same age, or a common outage looks like a
    fault. `epoch` changes with the share of the arms: the open block is dropped then,
    because a block over two shares compares flows of different times (Simpson's paradox).
    A clock that went back, as it does at a reboot, drops the open block too.
    """
    if epoch != process.epoch or time < process.updated:
        process = _without_block(process, time, epoch)
    values, restarted, cusums = process.values, process.restarted, process.cusums
    block, since, seen = process.block, process.block_since, process.seen
    if counts.total:
        block, seen = block + counts, seen + counts
    keep = 0.5 ** ((time - process.updated) / HALF_LIFE)
    failed = PRIOR_FAILED + (process.base_failed - PRIOR_FAILED) * keep + counts.control_failed
    good = PRIOR_GOOD + (process.base_good - PRIOR_GOOD) * keep + counts.control_good
    rate = process.block_rate
    if time - since >= BLOCK_SECONDS or block.total >= BLOCK_OUTCOMES:
        if block.total:
            # A block of one arm compares nothing: no evidence, and so no beginning either.
            compares = block.treated > 0 and block.control > 0
            restart = compares and (restarted is None or time - restarted >= RESTART_SECONDS)
            restarted = time if restart else restarted
            factors = _factors(block, rate)
            values = _multiplied(values, float(restart), factors)
            cusums = _multiplied(cusums, 0.0, factors, at_least=1.0)
        block, since, rate = Counts(), time, _rate(failed, good)
    return Process(values, block, since, rate, restarted, cusums, failed, good, time, epoch, seen)


def combined(processes: Iterable[tuple[float, Process]]) -> float:
    """The evidence of several processes under weights that sum to 1; ACT holds for it too."""
    return sum(weight * process.value for weight, process in processes)


def failures_needed(process: Process, threshold: float, treated_share: float) -> int | None:
    """How many more treated flows must fail until `value` reaches `threshold`; for people.

    It is assumed that only failures are left in the treated arm, that the control arm gets
    its share of the flows and fails at the base rate, and that one new beginning is
    admitted; the open block is not counted. None when no number of failures is enough.
    """
    if process.value >= threshold:
        return 0
    if not 0.0 < treated_share < 1.0:
        return None
    rate = process.base_rate
    controls = (1.0 - treated_share) / treated_share
    growths = [
        bet[0] + controls * (rate * bet[2] + (1.0 - rate) * bet[3])
        for bet in (_bet(excess, treated_share, rate) for excess in EXCESS)
    ]
    starts = [value + 1.0 for value in process.values]
    target = threshold * len(starts)
    pairs = list(zip(starts, growths, strict=True))
    alone = [math.log(target / start) / growth for start, growth in pairs if growth > 0.0]
    if not alone:
        return None
    # A sum of exponentials is convex: from below the target it crosses it once.
    low, high = 0, max(1, math.ceil(min(alone)))
    while high - low > 1:
        middle = (low + high) // 2
        reached = sum(start * math.exp(middle * growth) for start, growth in pairs) >= target
        low, high = (low, middle) if reached else (middle, high)
    return high


@frozen
class ShareCheck:
    """Whether the arms are drawn in the share that was designed; if not, judge nothing.

    `treated` and `control` are the births counted under `control_share`, `log_e` is the
    natural logarithm of the e-value against it. `broken` stays until the caller begins anew.
    """

    treated: int = 0
    control: int = 0
    control_share: float = 0.0
    log_e: float = 0.0
    broken: bool = False


def update_share(check: ShareCheck, treated: int, control: int, control_share: float) -> ShareCheck:
    """The check after more births; a new `control_share` begins a new count.

    Anytime-valid multinomial test of Lindon and Malek ("Anytime-Valid Inference for
    Multinomial Count Data", NeurIPS 2022) with two categories and a uniform prior: with the
    right share, P(ever broken) <= 1 / SHARE_LIMIT for each count. ValueError when the share
    is not between 0 and 1, exclusive.
    """
    if not 0.0 < control_share < 1.0:
        raise ValueError(f"a control share of {control_share:g} leaves no two arms to compare")
    if control_share == check.control_share:
        treated, control = check.treated + treated, check.control + control
    alternative = (
        math.lgamma(treated + 1) + math.lgamma(control + 1) - math.lgamma(treated + control + 2)
    )
    designed = treated * math.log1p(-control_share) + control * math.log(control_share)
    log_e = alternative - designed
    broken = check.broken or log_e >= math.log(SHARE_LIMIT)
    return ShareCheck(treated, control, control_share, log_e, broken)


def _rate(failed: float, good: float) -> float:
    return min(_RATE_HIGHEST, max(_RATE_LOWEST, failed / (failed + good)))


def _without_block(process: Process, time: float, epoch: int) -> Process:
    process = replace(
        process, block=Counts(), block_since=time, block_rate=process.base_rate, epoch=epoch
    )
    if time >= process.updated:
        return process
    restarted = None if process.restarted is None else time
    return replace(process, restarted=restarted, updated=time)


def _multiplied(
    values: _Values, restart: float, factors: _Values, at_least: float = 0.0
) -> _Values:
    first, second, third, fourth = (
        min(_VALUE_LIMIT, max(at_least, (value + restart) * factor))
        for value, factor in zip(values, factors, strict=True)
    )
    return first, second, third, fourth


def _factors(block: Counts, rate: float) -> _Values:
    share = block.treated / block.total
    share = min(1.0 - _SHARE_MARGIN, max(_SHARE_MARGIN, share))
    first, second, third, fourth = (_factor(block, _bet(excess, share, rate)) for excess in EXCESS)
    return first, second, third, fourth


def _factor(block: Counts, bet: _Values) -> float:
    log = (
        block.treated_failed * bet[0]
        + block.treated_good * bet[1]
        + block.control_failed * bet[2]
        + block.control_good * bet[3]
    )
    return math.exp(min(log, _LOG_FACTOR_LIMIT))


def _bet(excess: float, treated_share: float, rate: float) -> _Values:
    """Logarithms of what each outcome multiplies the evidence by, in the order of Counts.

    The last is the expectation over counting a good control as failed with probability
    TOLERANCE: that lifts the control arm to the rate which the treated arm may have.
    """
    control = rate + TOLERANCE * (1.0 - rate)
    treated = control + excess * (1.0 - control)
    mixed = treated_share * treated + (1.0 - treated_share) * control
    failed = control / mixed
    good = (1.0 - TOLERANCE) * (1.0 - control) / (1.0 - mixed) + TOLERANCE * failed
    return (
        math.log(treated / mixed),
        math.log((1.0 - treated) / (1.0 - mixed)),
        math.log(failed),
        math.log(good),
    )
