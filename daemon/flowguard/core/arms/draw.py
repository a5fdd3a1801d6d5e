# SPDX-License-Identifier: GPL-2.0-or-later
"""The arms: how flows are drawn for them, and how the drawn flows fared."""

from __future__ import annotations

from enum import StrEnum

from flowguard.core.arms.sequential_test import Counts
from flowguard.core.model import Family, Protocol
from flowguard.core.records import frozen

# The ages (seconds since a flow was first seen) at which it is judged by its answers. The
# first is soon enough to act on, and late enough for a few retransmissions to be counted.
FIRST_CHECKPOINT = 10
ANSWERED_CHECKPOINTS = (FIRST_CHECKPOINT, 60, 240)
# The ages at which it is asked how a connection ended: late enough for programs to give up.
ENDED_CHECKPOINTS = (60, 240)


@frozen
class Draw:
    """The shares at which new flows are drawn now: one in so many.

    `control_share` is None for the configured one. `observe_share` thins out the flows that
    are watched when there are very many, so that a look stays cheap. In a canary the arms
    are the other way round: one in `canary` flows is treated, the rest is the control arm.
    """

    control_share: int | None = None
    observe_share: int = 1
    canary: int | None = None

    def control_in(self, configured: int) -> float:
        """One in so many new flows is of the control arm; 0 when none is."""
        if self.canary:
            return self.canary / (self.canary - 1)
        return configured if self.control_share is None else self.control_share


class OutcomeKind(StrEnum):
    """What a flow is judged by; both arms can show each of them.

    ANSWERED: whether one direction went on while the other stayed silent. ENDED: whether
    it ended in order, or by a reset or a timeout.
    """

    ANSWERED = "answered"
    ENDED = "ended"


@frozen
class Outcomes:
    """How flows of one kind fared, all judged at the same age (`checkpoint`, seconds).

    `pair` are the two devices they pass, when that is known. `epoch` tells under which draw
    they were born.
    """

    kind: OutcomeKind
    checkpoint: int
    family: Family
    protocol: Protocol
    pair: tuple[str, str] | None
    epoch: int
    counts: Counts


@frozen
class Births:
    """Observed flows that reached their first checkpoint, by arm, under one draw."""

    epoch: int
    control_share: float
    treated: int
    control: int
