# SPDX-License-Identifier: GPL-2.0-or-later
"""What survives: the state, its verdicts, the count of unplanned ends; and what must not grow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flowguard.actuators.state_file import Memory
from flowguard.core.model import Decision, Verdict
from flowguard.core.records import fields, is_record
from flowguard.core.replay import decode_event, replay
from flowguard.core.serial import from_json
from tests.simulator.router import STATE, Life, Router
from tests.simulator.world import World

EVENTS = "/var/run/flowguard/events.jsonl"
MOST_KEPT = 20_000
"""Bytes are remembered of so many connections at most, and nothing else keeps as much."""


class Survival:
    """`planned`: the router goes down because somebody wants it so."""

    def __init__(self, world: World, router: Router) -> None:
        self.planned = False
        self.recorder_is_whole = True
        self._world = world
        self._router = router
        self._saved: tuple[Verdict, ...] = ()
        self._judged: Life | None = None

    def look(self) -> None:
        """Once in each life, when it has read what is remembered."""
        life = self._router.life
        started = life and life.running and life.running._started.is_set()
        if life and life.alive and started and life is not self._judged:
            self._judged = life
            self._look_at_start(life)

    def life_ended(self) -> None:
        """What is on flash now is what the next life must know."""
        self._saved = ()
        text = self._router.kernel.disk.flash.kept.get(STATE)
        if text is None or self._router.kernel.disk.flash.error:
            return
        try:
            memory = from_json(Memory, json.loads(text))
        except ValueError as error:
            self._world.violate(f"the state on flash cannot be read: {error}")
            return
        self._saved = memory.verdicts

    def forgotten(self) -> None:
        """Somebody wants it so."""
        self._saved = ()

    def _look_at_start(self, life: Life) -> None:
        assert life.service
        if self._router.kernel.disk.unreadable or self._router.kernel.disk.flash.error:
            return
        if life.service.state.ledger.lost:
            self._world.violate("what was remembered is lost")
        known = {(v.device, v.identity) for v in life.service.state.verdicts}
        for verdict in self._saved:
            if not any(verdict.identity == i or verdict.device == d for d, i in known):
                self._world.violate(f"the verdict on {verdict.device} is lost")
        if self.planned and life.service.state.boots.unplanned:
            self._world.violate("a planned reboot is taken for an unplanned one")

    def finish(self) -> None:
        """At the end of everything."""
        life = self._router.life
        if not (life and life.alive and life.service):
            return
        self._replay(life.service.state.decisions)
        for path, size in _large("service", life.service, set()):
            self._world.violate(f"{path} has {size} items")

    def _replay(self, taken: Sequence[Decision]) -> None:
        """The recorded events lead to the same decisions."""
        if not self.recorder_is_whole:
            return
        lines: list[str] = []
        for path in (f"{EVENTS}.1", EVENTS):
            lines += (self._router.kernel.disk.tmpfs.text(path) or "").splitlines()
        # The file before may be of an earlier life: a log goes on from the last beginning.
        starts = [i for i, line in enumerate(lines) if line.startswith('{"event": "Started"')]
        if starts:
            lines = lines[starts[-1] :]
        again = [_bare(d) for d in replay(map(decode_event, lines))]
        known = [_bare(d) for d in taken]
        count = min(len(again), len(known))
        if again[len(again) - count :] != known[len(known) - count :]:
            self._world.violate("the recorded events lead to other decisions")


def _bare(decision: Decision) -> tuple[Any, ...]:
    """Without what is added when the kernel has followed it."""
    return (decision.time, decision.device, decision.before, decision.after, decision.reason)


def _large(path: str, value: Any, seen: set[int]) -> list[tuple[str, int]]:
    """Collections that have grown beyond all bounds."""
    if id(value) in seen or isinstance(value, str | bytes | int | float | type(None)):
        return []
    seen.add(id(value))
    found: list[tuple[str, int]] = []
    if isinstance(value, dict | list | set | frozenset | tuple):
        if len(value) > MOST_KEPT:
            found.append((path, len(value)))
        items = list(value.values()) if isinstance(value, dict) else list(value)
        for item in items[:50]:
            found += _large(path + "[]", item, seen)
    elif is_record(value) and not isinstance(value, type):
        for name in fields(value):
            found += _large(f"{path}.{name}", getattr(value, name), seen)
    elif type(value).__module__.startswith("flowguard"):
        names = list(getattr(value, "__dict__", {})) or list(getattr(value, "__slots__", ()))
        for name in names:
            if hasattr(value, name):
                found += _large(f"{path}.{name}", getattr(value, name), seen)
    return found
