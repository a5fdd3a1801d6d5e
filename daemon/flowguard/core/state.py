# SPDX-License-Identifier: GPL-2.0-or-later
"""What the policy remembers between events, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from flowguard.core.detector import Detector
from flowguard.core.events import Draw, FlowsSeen
from flowguard.core.model import Decision, Device, Level, PolicySettings, Verdict

DECISIONS_KEPT = 50
# How long the stalled flows of a step are watched; TCP tries again within two minutes
# (TCP_RTO_MAX, include/net/tcp.h). After the limit nobody answers for them any more.
TRIAL_SECONDS = 120.0
TRIAL_LIMIT = 240.0


class Phase(StrEnum):
    """The `state` of the status."""

    STEADY = "steady"
    DRAINING = "draining"
    HELD_OFF = "held_off"
    CANARY = "canary"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain under way; counts are None until the first look."""

    since: float
    flows: int | None = None
    engine_entries: int | None = None
    tuples: tuple[str, ...] = ()
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """The kernel refused the tables; `retry_at` is None while they are tried again."""

    error: str
    attempts: int
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class Trial:
    """A step down because connections were dropped, until it is known whether that helped.

    `former` are the verdicts that its devices had before, to be put back if it did not.
    """

    since: float
    devices: tuple[str, ...]
    former: tuple[Verdict, ...]
    evidence: str
    stalled: int | None = None
    revived: int = 0
    trying: int = 0


@dataclass(frozen=True, slots=True)
class Mute:
    """Until when the arms' evidence leads to nothing, after so many exonerations."""

    until: float = 0
    exonerations: int = 0


@dataclass(frozen=True, slots=True)
class WeakFault:
    time: float
    device: str


@dataclass(frozen=True, slots=True)
class State:
    """Immutable; `policy.decide` returns the next one.

    `levels` is where each device stands: what the last `Converge` asked for. `epoch` is the
    number of that request; only flows born since `compared_since` can be compared. `thinned` is
    when the share of observed flows last changed. `unproven` is the last trial that ended
    without proof either way.
    """

    time: float = 0
    wanted: Level = Level.NONE
    settings: PolicySettings = field(default_factory=PolicySettings)
    devices: tuple[Device, ...] = ()
    levels: tuple[tuple[str, Level], ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    converged: bool = False
    drain: Drain | None = None
    failure: Failure | None = None
    weak_faults: tuple[WeakFault, ...] = ()
    rebuilds: tuple[float, ...] = ()
    rebuild_held_until: float = 0
    flows: FlowsSeen | None = None
    draw: Draw = field(default_factory=Draw)
    thinned: float = -math.inf
    epoch: int = 0
    compared_since: int = 0
    detector: Detector = field(default_factory=Detector)
    trial: Trial | None = None
    unproven: Trial | None = None
    mute: Mute = field(default_factory=Mute)
    observed: int = 0
    decisions: tuple[Decision, ...] = ()

    def level_of(self, device: str) -> Level:
        return dict(self.levels).get(device, Level.NONE)

    def verdict_on(self, device: str) -> Verdict | None:
        return next((v for v in self.verdicts if v.device == device), None)

    def holds(self, verdict: Verdict) -> bool:
        """Whether the verdict still keeps its device down."""
        if self.settings.detect_only:
            return False
        return verdict.highest is not Level.HARDWARE and not self.is_over(verdict)

    def is_over(self, verdict: Verdict) -> bool:
        """Whether the hold-off has ended: never before the drain and the trial it began with."""
        waits = verdict.until_reboot or self.drain is not None or self.trial is not None
        return not waits and self.time >= verdict.held_until

    @property
    def level(self) -> Level:
        """The highest level any device stands on."""
        return max((level for _, level in self.levels), key=lambda x: x.rank, default=Level.NONE)

    @property
    def phase(self) -> Phase:
        if self.drain:
            return Phase.DRAINING
        if self.time < self.rebuild_held_until or any(
            self.holds(v) and v.highest.rank < self.wanted.rank for v in self.verdicts
        ):
            return Phase.HELD_OFF
        return Phase.STEADY

    def next_deadline(self) -> float | None:
        """When a `Tick` is due, if nothing happens before; None when nothing is pending."""
        return min((t for t in self._deadlines() if t > self.time), default=None)

    def _deadlines(self) -> Iterator[float]:
        yield self.rebuild_held_until
        if self.wanted is Level.HARDWARE:
            yield self.settings.boot_delay
        yield from (v.held_until for v in self.verdicts if self.holds(v) and not v.until_reboot)
        if self.drain and not self.drain.overdue:
            yield self.drain.since + self.settings.drain_limit
        if self.failure and self.failure.retry_at is not None:
            yield self.failure.retry_at
        if self.trial:
            yield self.trial.since + TRIAL_LIMIT


def allowed(state: State, device: Device) -> tuple[Level, str]:
    """The highest level the device may stand on now, and what limits it, in words."""
    limits = [(state.wanted, f"wanted level is {state.wanted}")]
    if device.hardware_capable is False:
        limits.append((Level.SOFTWARE, f"no hardware offload: {device.reason}"))
    if state.time < state.settings.boot_delay:
        limits.append((Level.SOFTWARE, f"waiting for {state.settings.boot_delay:g} s of uptime"))
    if state.time < state.rebuild_held_until:
        limits.append((Level.NONE, "another program keeps removing our tables"))
    verdict = state.verdict_on(device.name)
    if verdict and state.holds(verdict):
        limits.append((verdict.highest, f"held off: {verdict.reason}"))
    return min(limits, key=lambda limit: limit[0].rank)
