# SPDX-License-Identifier: GPL-2.0-or-later
"""Time, chance and order: the one clock, the one queue, and what happened."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from random import Random
from typing import Protocol

LINES_KEPT = 400


class Violation(Exception):
    """What must never happen has happened."""


class Runner(Protocol):
    """A program with an event loop of its own."""

    def next_time(self) -> float:
        """When it can go on; `math.inf` when it only waits for others."""
        ...

    def turn(self) -> None: ...


class Happening:
    """Something that is due at a time, unless it is called off."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class World:
    """Times are in virtual seconds since the simulation began.

    Chance comes from streams with names, so that one part that asks more often does not
    change the luck of all the others.
    """

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.seed = seed
        self.now = 0.0
        self.steps = 0
        self.tracing = tracing
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.runners: list[Runner] = []
        self.after_step: Callable[[], None] = lambda: None
        self._due: list[tuple[float, int, Happening]] = []
        self._number = 0

    def random(self, stream: str) -> Random:
        return Random(f"{self.seed} {stream}")

    def at(self, time: float, call: Callable[[], None]) -> Happening:
        happening = Happening(call)
        self._number += 1
        heapq.heappush(self._due, (time, self._number, happening))
        return happening

    def after(self, seconds: float, call: Callable[[], None]) -> Happening:
        return self.at(self.now + seconds, call)

    def tell(self, text: str, *values: object) -> None:
        """A line of the trace; `text` is for %, as in logging."""
        if self.tracing:
            self.trace.append(f"{self.now:14.6f} {text % values if values else text}")

    def violate(self, text: str) -> None:
        """Note it; the first one of a kind is enough."""
        self.tell("VIOLATION: %s", text)
        self.violations.append(f"{self.now:.6f} (step {self.steps}): {text}")

    def run(self, until: float) -> None:
        """Let everything happen that is due by then."""
        while self.step(until):
            pass
        self.now = max(self.now, until)

    def step(self, until: float) -> bool:
        """One thing that happens, or one turn of a program; False when there is none."""
        runner, when = self._next_runner()
        due = self._due
        if due and due[0][0] < when:
            time, _, happening = due[0]
            if time > until:
                return False
            heapq.heappop(due)
            if not (call := happening.call):
                return True
            self.now = max(self.now, time)
            call()
        else:
            if runner is None or when > until:
                return False
            self.now = max(self.now, when)
            runner.turn()
        self.steps += 1
        self.after_step()
        return True

    def _next_runner(self) -> tuple[Runner | None, float]:
        found, earliest = None, math.inf
        for runner in self.runners:
            when = runner.next_time()
            if when < earliest:
                found, earliest = runner, when
        return found, earliest
