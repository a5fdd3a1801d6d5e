# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that belongs to one simulation: the router, its people, and who looks on."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from random import Random

from flowguard.platform.configuration.loading import Configuration
from tests.simulator import topology
from tests.simulator.actors.household import Household, Traffic
from tests.simulator.invariants.belief import Belief
from tests.simulator.invariants.clock import AbleTime
from tests.simulator.invariants.counted_bytes import CountedBytes
from tests.simulator.invariants.faults import InjectedFaults
from tests.simulator.invariants.limits import Limits
from tests.simulator.invariants.memory import Survival
from tests.simulator.invariants.tables import TableRules
from tests.simulator.machine.kernel import Kernel
from tests.simulator.process import Process
from tests.simulator.router import Life, Router
from tests.simulator.world import World

EYES_PAUSE = 5.0


class Scene:
    """`is_healing`: from now on nothing disturbs any more; `is_releasing`: somebody has asked
    for a release and has no answer yet.
    """

    def __init__(
        self,
        world: World,
        configuration: Configuration,
        household: Household,
        release: str = "6.12.40",
    ) -> None:
        self.world = world
        self.kernel = Kernel(world, release)
        topology.build(self.kernel.netdevs)
        self.router = Router(world, self.kernel, configuration)
        self.platform = self.router.platform
        self.able = AbleTime(world, self.router)
        self.faults = InjectedFaults(world)
        self.limits = Limits(world, self.router, self.able)
        self.tables = TableRules(world, self.router, self.able)
        self.belief = Belief(world, self.router, self.able, self.faults)
        self.survival = Survival(world, self.router)
        self.counted_bytes = CountedBytes(world, self.router)
        self.traffic = Traffic(world, self.kernel, household)
        self._undo: dict[tuple[str, int], Callable[[], None]] = {}
        self._disturbances = 0
        self.is_healing = self.is_releasing = False
        self.router.ended.append(self._life_ended)
        self.router.booted.append(self._booted)
        world.after_step = self._look
        world.after(EYES_PAUSE, self._look_at_eyes)

    def luck(self, name: str) -> Random:
        return self.world.random(f"actor {name}")

    def disturb(self, name: str, seconds: float, undo: Callable[[], None]) -> None:
        """What has been done is undone after a while, or when all is to be well."""
        self._disturbances += 1
        key = (name, self._disturbances)
        self._undo[key] = undo
        self.world.after(seconds, lambda: self._end(key))

    def is_disturbed(self, name: str) -> bool:
        return any(known == name for known, _ in self._undo)

    def _end(self, key: tuple[str, int]) -> None:
        if undo := self._undo.pop(key, None):
            self.world.tell("over: %s", key[0])
            undo()

    def heal(self) -> None:
        """From now on nothing disturbs any more."""
        self.is_healing = True
        for key in list(self._undo):
            self._end(key)

    def close(self) -> None:
        """Nothing goes on after the end."""
        self.router.is_off = True
        for runner in list(self.world.runners):
            if isinstance(runner, Process):
                runner.at_end.clear()
                runner.kill()

    def _look(self) -> None:
        self.able.look()
        self.tables.look()
        self.belief.look()
        self.survival.look()

    def _look_at_eyes(self) -> None:
        self.belief.look_at_eyes()
        self.limits.look_inside()
        self.limits.look_at_moves()
        self.counted_bytes.look()
        self.world.after(EYES_PAUSE, self._look_at_eyes)

    def _life_ended(self, life: Life) -> None:
        process = life.process
        if process.failure is not None:
            trace = "".join(traceback.format_exception(process.failure)[-3:])
            self.world.violate(f"{process.name} fails: {trace}")
        self.limits.life_ended()
        self.survival.life_ended()
        self.tables.by_force = False

    def _booted(self) -> None:
        for name in ("suspend", "level", "firewall", "fw4"):
            self.limits.lift(name)
        self.limits.lift_all("blind")
        self.faults.blinding.clear()
        self.survival.recorder_is_whole = True
        self.tables.released = self.is_releasing = False


class Ear(logging.Handler):
    """What the daemon logs goes into the trace; what it may never log is a violation."""

    def emit(self, record: logging.LogRecord) -> None:
        process = Process.current
        if process is None or process.dead:
            return
        world = process.world
        if world.tracing:
            world.tell("log %s: %s", record.levelname.lower(), record.getMessage())
        if record.exc_info or "internal error" in str(record.msg):
            trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            world.violate(f"logged: {record.getMessage()} {trace[-1500:]}")


def listen() -> None:
    """Hear the log of this process, whoever listened before."""
    root = logging.getLogger()
    root.handlers = [Ear()]
    root.setLevel(logging.INFO)
