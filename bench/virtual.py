# SPDX-License-Identifier: GPL-2.0-or-later
"""The real policy in virtual time: a kernel that does at once what it is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from flowguard.core.events import (
    Converge,
    Converged,
    Decided,
    DevicesChanged,
    Event,
    FlowsJudged,
    Started,
)
from flowguard.core.model import Decision, Device, Level
from flowguard.core.policy import decide
from flowguard.core.state import State

LAN1, LAN2, WAN = "lan1", "lan2", "wan"
DEVICES = tuple(
    Device(name, number, hardware_capable=True) for number, name in enumerate((LAN1, LAN2, WAN), 2)
)
UPTIME = 1000.0  # seconds: past the delay after a boot


@dataclass
class Router:
    """The policy, told of outcomes; it keeps what the report needs."""

    state: State = field(default_factory=State)
    steps: list[Decision] = field(default_factory=list)
    changes: list[Converge] = field(default_factory=list)
    peak: float = 0.0
    looks: int = 0
    suspicious: int = 0

    def start(self) -> Router:
        self.feed(Started(UPTIME, Level.HARDWARE))
        self.feed(DevicesChanged(UPTIME, DEVICES))
        return self

    @property
    def control_share(self) -> int:
        return self.state.draw.control_share or self.state.settings.control_share

    @property
    def observe_share(self) -> int:
        return self.state.draw.observe_share

    def judge(self, event: FlowsJudged) -> bool:
        """Whether the evidence led to a step down."""
        before = len(self.steps)
        self.peak = max(self.peak, self.feed(event))
        self.looks += 1
        self.suspicious += self.state.draw.control_share is not None
        return len(self.steps) > before

    def feed(self, event: Event) -> float:
        """The evidence after the event, before a step takes it away."""
        evidence = self._decide(event)
        if not self.state.converged:
            self._decide(Converged(event.time))
        return evidence

    def _decide(self, event: Event) -> float:
        self.state, commands = decide(self.state, event)
        for command in commands:
            if isinstance(command, Converge):
                self.changes.append(command)
            if isinstance(command, Decided) and _is_down(command.decision):
                self.steps.append(command.decision)
        return self.state.detector.value


def _is_down(decision: Decision) -> bool:
    return decision.after.rank < decision.before.rank


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan


__all__ = ["DEVICES", "LAN1", "LAN2", "UPTIME", "WAN", "Router", "quantile"]
