# SPDX-License-Identifier: GPL-2.0-or-later
"""Mends that can be taken back: what the simulator is for must be found by it.

Each is named for the row of the table in the issue that asked for it, and makes of the daemon
what it was before, as far as that mend goes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from flowguard.actuators.approach import ConvergeError, Converger
from flowguard.actuators.tables import NewestPlan
from flowguard.core.events import Event
from flowguard.core.ladder import guards
from flowguard.core.state import State
from flowguard.kernel.nftables.ordered import OrderedTables
from flowguard.sensors.arms.looks import ArmsSensor
from flowguard.sensors.supervise import Supervision
from flowguard.service.loop import Service
from flowguard.service.running import End, Running
from tests.simulator.scenario import run


async def _out_of_turn(self: OrderedTables, call: Callable[[], Any]) -> Any:
    return await call()


def _recorder_first(self: Service, event: Event) -> None:
    self._recorder.record(event, self.state)
    _FEED(self, event)


def _start_after_release(self: NewestPlan, target: Any) -> None:
    self._released = False
    _START(self, target)


async def _leave_at_once(self: Running, how: End) -> Any:
    if how is End.RELEASE:
        return await self._service.newest_plan.release()
    return await _LEAVE(self, how)


async def _zombie(self: Running, how: End) -> Any:
    """Whoever could not end does not go on either."""
    service = self._service
    try:
        return await _END(self, how)
    except ConvergeError:
        await self._ending.acquire()
        service._arm_timer = lambda: None  # type: ignore[method-assign]
        raise


def _begin_once(self: ArmsSensor, reached: Any, plan: Any) -> None:
    """The arms stay those of the first draw."""
    if not self.drawing.limit:
        _BEGIN(self, reached, plan)


async def _run_once(self: Supervision, sensor: Any) -> None:
    self.health[sensor.name] = "ok"
    with contextlib.suppress(Exception):
        await sensor.run(lambda: None)


def _unmoved(state: State, event: Event) -> State:
    return state


async def _just_end(self: Running, how: End) -> None:
    self._ended.set()


async def _endless(self: Converger, plan: Any, deadline: float) -> Any:
    return await _REACH(self, plan, math.inf)


_FEED, _START, _REACH = Service.feed, NewestPlan.start, Converger._reach
_END, _LEAVE, _BEGIN = Running.end, Running._leave, ArmsSensor.begin

MENDS: dict[int, tuple[tuple[object, str, Any], ...]] = {
    1: ((OrderedTables, "_in_turn", _out_of_turn),),
    2: ((Service, "feed", _recorder_first),),
    4: ((NewestPlan, "start", _start_after_release), (Running, "_leave", _leave_at_once)),
    5: ((Running, "end", _zombie),),
    6: ((ArmsSensor, "begin", _begin_once),),
    7: ((Supervision, "_keep_running", _run_once),),
    8: ((guards, "on_lost", _unmoved),),
    9: ((Running, "end_anyway", _just_end),),
    10: (
        (State, "level", property(lambda self: self.target)),
        (State, "reached_by", State.level_of),
    ),
    12: ((Converger, "_reach", _endless),),
}


@contextmanager
def reverted(row: int) -> Iterator[None]:
    """Without this mend, until the end of the block."""
    with contextlib.ExitStack() as stack:
        for owner, name, former in MENDS[row]:
            stack.enter_context(patch.object(owner, name, former))
        yield


FOUND_BY = {1: 116, 2: 5, 4: 45, 5: 24, 6: 1, 7: 1, 8: 5, 9: 3, 10: 3, 12: 62}
"""The seed that found each of them last; another daemon, or another simulator, has others."""
SECONDS = 2520.0
MOST_SEEDS = 150


@dataclass(frozen=True)
class Find:
    seed: int
    violation: str


def find(row: int, most: int = MOST_SEEDS) -> Find | None:
    """The first seed that shows what is wrong without this mend, and nothing with it."""
    for seed in (FOUND_BY[row], *range(1, most + 1)):
        with reverted(row):
            violations = run(seed, SECONDS).violations
        if violations and not run(seed, SECONDS).violations:
            return Find(seed, violations[0])
    return None
