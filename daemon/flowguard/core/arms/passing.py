# SPDX-License-Identifier: GPL-2.0-or-later
"""The sequential test the other way round: is it proven that treated flows do not fail more?

The same bet as in core/evidence.py, against the other side: what is ruled out is that
treated flows fail EXCESS more often than those of the control arm. A good flow of the
control arm counts as failed with probability EXCESS, and the bet is that treated flows fail
as seldom as the control arm does. There is one beginning only, so P(a device that is so bad
ever passes) <= 1 / PASS (Ville's inequality).
"""

from __future__ import annotations

import math

from flowguard.core.arms.sequential_test import BLOCK_OUTCOMES, BLOCK_SECONDS, Counts
from flowguard.core.records import frozen, replace

EXCESS = 0.05
PASS = 100.0

_MARGIN = 1e-9


@frozen
class Passing:
    """The evidence so far, as natural logarithm; `rate` is the base rate that the open block
    is judged by, taken when it opened. Times in seconds of the monotonic clock.
    """

    log_e: float = 0.0
    block: Counts = Counts()
    block_since: float = 0.0
    rate: float = 0.01
    epoch: int = 0
    seen: Counts = Counts()

    @property
    def passed(self) -> bool:
        return self.log_e >= math.log(PASS)


def update(passing: Passing, time: float, counts: Counts, epoch: int, rate: float) -> Passing:
    """The evidence after outcomes of one epoch; `rate` is the base rate known before them.

    A block over two epochs would compare flows of different shares, so it is dropped.
    """
    if epoch != passing.epoch:
        passing = replace(passing, block=Counts(), block_since=time, rate=rate, epoch=epoch)
    block = passing.block + counts
    passing = replace(passing, block=block, seen=passing.seen + counts)
    if block.total < BLOCK_OUTCOMES and time - passing.block_since < BLOCK_SECONDS:
        return passing
    log_e = passing.log_e + (_log_factor(block, passing.rate) if block.total else 0.0)
    return replace(passing, log_e=log_e, block=Counts(), block_since=time, rate=rate)


def _log_factor(block: Counts, rate: float) -> float:
    share = min(1.0 - _MARGIN, max(_MARGIN, block.treated / block.total))
    control = rate + EXCESS * (1.0 - rate)
    mixed = share * rate + (1.0 - share) * control
    good_control = (1.0 - EXCESS) * (1.0 - control) / (1.0 - mixed) + EXCESS * control / mixed
    return (
        block.treated_failed * math.log(rate / mixed)
        + block.treated_good * math.log((1.0 - rate) / (1.0 - mixed))
        + block.control_failed * math.log(control / mixed)
        + block.control_good * math.log(good_control)
    )
