# SPDX-License-Identifier: GPL-2.0-or-later
"""What the simulated weeks consist of: kinds of flows, how they fail, and what befalls them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from bench.evidence import BASE_RATE, cumulative
from bench.virtual import LAN1, LAN2, WAN
from flowguard.core.arms.draw import ANSWERED_CHECKPOINTS, FIRST_CHECKPOINT, OutcomeKind
from flowguard.core.model import Family, Protocol
from flowguard.sensors.arms.census import OLDER_MOST


@dataclass(frozen=True, slots=True)
class Cell:
    """Its share of all connections, and how many of them fail at the first age."""

    family: Family
    protocol: Protocol
    pair: tuple[str, str]
    share: float
    failing: float


CELLS = (
    Cell(Family.IPV4, Protocol.TCP, (LAN1, WAN), 0.30, 0.010),
    Cell(Family.IPV4, Protocol.TCP, (LAN2, WAN), 0.15, 0.004),
    Cell(Family.IPV4, Protocol.UDP, (LAN1, WAN), 0.10, 0.030),
    Cell(Family.IPV4, Protocol.UDP, (LAN2, WAN), 0.05, 0.060),
    Cell(Family.IPV6, Protocol.TCP, (LAN1, WAN), 0.20, 0.006),
    Cell(Family.IPV6, Protocol.TCP, (LAN2, WAN), 0.10, 0.012),
    Cell(Family.IPV6, Protocol.UDP, (LAN1, WAN), 0.07, 0.020),
    Cell(Family.IPV6, Protocol.UDP, (LAN2, WAN), 0.03, 0.002),
)
# How many flows show an outcome of the kind at the age, and how their rate of failing
# compares with that of the first age: most connections have ended by the later ones.
AGES = {
    (OutcomeKind.ANSWERED, FIRST_CHECKPOINT): (0.9, 1.0),
    (OutcomeKind.ANSWERED, 60): (0.25, 1.5),
    (OutcomeKind.ANSWERED, 240): (0.12, 1.5),
    (OutcomeKind.ENDED, 60): (0.6, 26.0),
    (OutcomeKind.ENDED, 240): (0.1, 4.0),
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What both arms suffer: `factor` more failures, and `least` of all flows that it hits."""

    factor: float = 1.0
    least: float = 0.0
    family: Family | None = None
    pair: tuple[str, str] | None = None

    def failing(self, cell: Cell, factor: float) -> float:
        hit = self.family in (None, cell.family) and self.pair in (None, cell.pair)
        rate = cell.failing * factor * (self.factor if hit else 1.0)
        return min(1.0, max(rate, self.least if hit else 0.0))


CALM = Trouble()
# Trouble, how often a week, and the shortest and longest time it lasts (seconds).
TROUBLES = (
    (Trouble(least=1.0), 4, (60, 900)),
    (Trouble(least=0.6), 3, (60, 1800)),
    (Trouble(factor=5.0), 6, (300, 7200)),
    (Trouble(factor=20.0), 6, (300, 3600)),
    (Trouble(least=0.9, family=Family.IPV6), 3, (300, 14400)),
    (Trouble(least=1.0, pair=(LAN2, WAN)), 3, (60, 3600)),
)


@dataclass(frozen=True, slots=True)
class Draw:
    """At which rate (flows a second) flows are born, and one in how many is which.

    `even`: as the table of expected delays has it, every one shows an outcome at the first
    age, and 1 % of all kinds fail.
    """

    rate: float
    control_share: int
    observe_share: int
    even: bool = False

    @property
    def observed(self) -> float:
        """Flows a second that are observed."""
        return self.rate / self.observe_share

    @property
    def followed(self) -> float:
        """The part of them that is followed past the first age, as there is room."""
        room = OLDER_MOST / (ANSWERED_CHECKPOINTS[-1] - FIRST_CHECKPOINT)
        return min(1.0, room / self.observed)


@dataclass(frozen=True, slots=True)
class Born:
    """How flows were drawn from a time on."""

    since: float
    epoch: int
    draw: Draw


@cache
def means(
    kind: OutcomeKind, age: int, draw: Draw, trouble: Trouble, fault: float, seconds: float
) -> tuple[tuple[Cell, tuple[tuple[float, ...], ...]], ...]:
    """Distributions of a tick's counts, in the order of Counts."""
    judged, factor = AGES[kind, age]
    if age == FIRST_CHECKPOINT:
        judged = 1.0 if draw.even else judged
    else:
        judged *= draw.followed
    control = 1 / draw.control_share
    rows = []
    for cell in CELLS:
        if kind is OutcomeKind.ENDED and cell.protocol is Protocol.UDP:
            continue
        flows = draw.observed * cell.share * judged * seconds
        natural = BASE_RATE * factor if draw.even else trouble.failing(cell, factor)
        treated = 1 - (1 - natural) * (1 - (fault if kind is OutcomeKind.ANSWERED else 0.0))
        parts = (
            (1 - control) * treated,
            (1 - control) * (1 - treated),
            control * natural,
            control * (1 - natural),
        )
        tables = tuple(cumulative(flows * part) if flows * part else (1.0,) for part in parts)
        rows.append((cell, tables))
    return tuple(rows)
