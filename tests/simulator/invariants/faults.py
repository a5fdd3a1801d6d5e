# SPDX-License-Identifier: GPL-2.0-or-later
"""What was broken on purpose, and when: so that a step down has a reason, or has none."""

from __future__ import annotations

from collections import Counter

from tests.simulator.world import World

MEMORY = 7200.0
"""A fault explains what is concluded from it so much later; the arms take their time."""
LOG, ENGINE, REFUSAL, DEATH = "log", "engine", "refusal", "death"
_BY_RULE = {
    "refused": REFUSAL,
    "dropped-connections": ENGINE,
    "engine-orphans": ENGINE,
    "engine-half-bound": ENGINE,
    "unexplained-reboot": DEATH,
}


class InjectedFaults:
    """`blinding` is what keeps a sensor from seeing just now."""

    def __init__(self, world: World) -> None:
        self.blinding: set[str] = set()
        self._world = world
        self._seen: dict[str, float] = {}
        self._going: Counter[str] = Counter()

    def happened(self, kind: str) -> None:
        self._seen[kind] = self._world.now

    def began(self, kind: str) -> None:
        self._going[kind] += 1
        self.happened(kind)

    def ended(self, kind: str) -> None:
        self._going[kind] -= 1
        self.happened(kind)

    def explain(self, rule: str, reason: str) -> bool:
        """Whether something of the kind that leads to such a verdict was broken lately."""
        kind = _BY_RULE.get(rule, LOG)
        if self._going[kind] > 0:
            return True
        then = self._seen.get(kind)
        return then is not None and self._world.now - then < MEMORY
