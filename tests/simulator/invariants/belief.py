# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon reports against what is; and whether it still looks at what it guards by."""

from __future__ import annotations

from flowguard.actuators.steps import levels_in
from flowguard.core.model import Level
from flowguard.core.state import State
from flowguard.core.tables.description import BucketBelow
from flowguard.service.status import status
from tests.simulator.invariants.clock import AbleTime
from tests.simulator.invariants.faults import InjectedFaults
from tests.simulator.router import Life, Router
from tests.simulator.world import World

AGREEMENT_SECONDS = 3.0
"""So long may the report lag behind the kernel, while it can look."""
EYES_SECONDS = 150.0
"""From anything that blinds a sensor to its return: the longest pause of the supervision."""


class Belief:
    def __init__(
        self, world: World, router: Router, able: AbleTime, faults: InjectedFaults
    ) -> None:
        self._world = world
        self._router = router
        self._able = able
        self._faults = faults
        self._state: State | None = None
        self._generation = -1
        self._differs_since: float | None = None
        self._eyes_open_at: float | None = None
        self._read: object = None
        self._known: set[tuple[int, str, str, float]] = set()
        self._told: set[str] = set()

    def look(self) -> None:
        life = self._router.life
        if not (life and life.alive and life.service and self._able.could_act()):
            self._differs_since = None
            return
        state = life.service.state
        generation = self._router.kernel.ruleset.generation
        if state is not self._state or generation != self._generation:
            self._state, self._generation = state, generation
            self._compare(life)
            self._look_at_verdicts(state)
        elif self._differs_since is not None:
            self._wait_for_agreement(life)

    # --- the level ----------------------------------------------------------------------------

    def _compare(self, life: Life) -> None:
        if self._agrees(life):
            self._differs_since = None
        elif self._differs_since is None:
            self._differs_since = self._able.seconds

    def _wait_for_agreement(self, life: Life) -> None:
        assert self._differs_since is not None
        if self._able.seconds - self._differs_since > AGREEMENT_SECONDS:
            told, held = self._words(self._report(life)), self._words(self._held(life))
            if told == held:
                told, held = str(self._drawn_by(life)), str(self._rules_draw_by())
            self._once(f"{told} is reported, the kernel holds {held}")

    def _agrees(self, life: Life) -> bool:
        assert life.service
        alike = self._drawn_by(life) == self._rules_draw_by() or not life.service.state.converged
        return alike and self._report(life) == self._held(life)

    def _drawn_by(self, life: Life) -> tuple[int, int]:
        """Seed and limit of the arms that the daemon takes connections for."""
        assert life.service
        drawing = life.service.arms.drawing
        return drawing.seed, drawing.limit

    def _rules_draw_by(self) -> tuple[int, int]:
        """The same as the rules have it; only the highest table that takes flows has any."""
        tables = self._router.kernel.ruleset.tables.values()
        matches = [m for table in tables for rule in table.rules for m in rule.matches]
        drawing = [(m.seed, m.limit) for m in matches if isinstance(m, BucketBelow)]
        return drawing[0] if drawing else (0, 0)

    def _held(self, life: Life) -> dict[str, Level]:
        """Of the devices that take part; and the highest level there is at all."""
        held = dict(levels_in(self._router.kernel.ruleset.state()))
        assert life.service
        if bridge := self._router.kernel.netdevs.by_name.get("br-lan"):
            # A port without a level of its own has that of its bridge.
            through = dict.fromkeys(bridge.lower, held.get(bridge.name, Level.NONE))
            held = {n: level for n, level in through.items() if level is not Level.NONE} | held
        known = {device.name for device in life.service.state.devices}
        highest = max(held.values(), key=lambda level: level.rank, default=Level.NONE)
        return {"": highest, **{n: level for n, level in held.items() if n in known}}

    def _report(self, life: Life) -> dict[str, Level]:
        """What `flowguard status` shows, without the cost of asking."""
        assert life.service and life.running
        held_before = life.process._held
        try:
            shown = status(life.service, life.running)
        finally:
            life.process._held = held_before
        levels = {d["name"]: d["level"] for d in shown["devices"] if d["level"] != Level.NONE}
        return {"": shown["level"], **levels}

    @staticmethod
    def _words(levels: dict[str, Level]) -> str:
        return ", ".join(f"{name or 'in all'} {level}" for name, level in levels.items())

    # --- verdicts -----------------------------------------------------------------------------

    def _look_at_verdicts(self, state: State) -> None:
        for verdict in state.verdicts:
            key = (self._router.kernel.boots, verdict.device, verdict.rule, verdict.strikes)
            if key in self._known:
                continue
            self._known.add(key)
            if not self._faults.explain(verdict.rule, verdict.reason):
                self._once(f"{verdict.device} is convicted without a fault: {verdict.reason}")

    # --- eyes ---------------------------------------------------------------------------------

    def look_at_eyes(self) -> None:
        """Every watch is open, some time after everything that could close one is mended."""
        life = self._router.life
        running = life.running if life else None
        started = running and running._started.is_set() and not running.stopping
        hindered = self._faults.blinding or self._router.kernel.connections.interrupts
        if not (life and life.alive and started) or hindered:
            self._eyes_open_at = None
            return
        now_read = (life, self._router.platform.last_read)
        if self._eyes_open_at is None or now_read != self._read:
            self._read = now_read
            self._eyes_open_at = self._world.now + EYES_SECONDS
        elif self._world.now > self._eyes_open_at:
            self._judge_eyes()

    def _judge_eyes(self) -> None:
        kernel = self._router.kernel
        closed = [
            name
            for name, is_open in (
                ("the kernel log", kernel.log.followers),
                ("the tables", kernel.hear_tables),
                ("the links", kernel.netdevs.changed),
                ("the ends of connections", kernel.connections.listeners),
            )
            if not is_open
        ]
        for name in closed:
            self._once(f"nobody watches {name}")
        life = self._router.life
        assert life and life.service
        for sensor, health in life.service.supervision.health.items():
            if health != "ok" and sensor != "engine":
                self._once(f"sensor {sensor} does not come back: {health}")

    def _once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._world.violate(text)
