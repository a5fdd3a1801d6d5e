# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that runs all the time, under one eye: started anew when it ends, never unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from flowguard.core.events import Event, SensorBack, SensorLost
from flowguard.core.records import mutable

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds from a death to the next start; doubled each time, until there is a sign of life."""
LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


class Sensor(Protocol):
    """One that is to run for ever.

    `patience`: after so many seconds without a sign of life it counts as lost; None for one
    that only listens and so may have nothing to say for days.
    """

    name: str
    patience: float | None

    async def run(self, alive: Callable[[], None]) -> None:
        """Until cancelled; `alive` is called whenever it could see what it is for.

        One that cannot go on raises, whatever it is; ending by itself is as bad.
        """
        ...


@mutable
class _Watched:
    sensor: Sensor
    task: asyncio.Task[None]
    heard: float
    pause: float = FIRST_PAUSE
    lost: bool = False


class Supervision:
    """`health` is live, by sensor: "ok", or why there is nothing to be seen."""

    def __init__(self, now: Callable[[], float], feed: Callable[[Event], None]) -> None:
        self.health: dict[str, str] = {}
        self._now = now
        self._feed = feed
        self._watched: dict[str, _Watched] = {}
        self._looking: asyncio.Task[None] | None = None

    def start(self, sensor: Sensor) -> None:
        """From now on it runs, whatever becomes of it."""
        self.health[sensor.name] = "starting"
        task = asyncio.create_task(self._keep_running(sensor), name=sensor.name)
        self._watched[sensor.name] = _Watched(sensor, task, self._now())
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        """End them all, and wait until they have ended."""
        tasks = [watched.task for watched in self._watched.values()]
        if self._looking:
            tasks.append(self._looking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_running(self, sensor: Sensor) -> None:
        await asyncio.sleep(0)  # Until it is in the list.
        watched = self._watched[sensor.name]
        while True:
            error = "it ended by itself"
            try:
                await sensor.run(lambda: self._alive(watched))
            except OSError as failure:
                error = failure.strerror or str(failure)
            except Exception as failure:
                log.exception("%s failed", sensor.name)
                error = f"internal error: {failure}"
            self._lose(watched, error)
            await asyncio.sleep(watched.pause)
            watched.pause = min(watched.pause * 2, LONGEST_PAUSE)

    async def _look(self) -> None:
        """Notice who neither ends nor gives a sign of life."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for watched in self._watched.values():
                patience = watched.sensor.patience
                if patience is not None and self._now() - watched.heard > patience:
                    self._lose(watched, f"no sign of life for {patience:g} s")

    def _alive(self, watched: _Watched) -> None:
        watched.heard = self._now()
        watched.pause = FIRST_PAUSE
        self.health[watched.sensor.name] = "ok"
        if watched.lost:
            watched.lost = False
            log.info("%s works again", watched.sensor.name)
            self._feed(SensorBack(self._now(), watched.sensor.name))

    def _lose(self, watched: _Watched, error: str) -> None:
        name = watched.sensor.name
        told = f"not available: {error}"
        if self.health[name] != told:
            log.warning("sensor %s is %s", name, told)
        self.health[name] = told
        if not watched.lost:
            watched.lost = True
            self._feed(SensorLost(self._now(), name, error))
