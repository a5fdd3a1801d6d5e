# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that runs all the time, under one eye: started anew when it ends, never unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from flowguard.core.events import Event, SensorBack, SensorLost
from flowguard.core.interface import Interface
from flowguard.core.records import mutable
from flowguard.kernel.netlink.codec import MalformedMessage

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds from an end to the next start, doubled each time; back to the first for one that
has worked for LONGEST_PAUSE."""
TURN_SECONDS = 1.0

STARTING = "starting"

log = logging.getLogger(__name__)


class Sensor(Interface):
    """One that is to run for ever.

    `patience`: after so many seconds without a sign of life it counts as lost; None for one
    that only listens and so may have nothing to say for days.
    """

    @property
    def name(self) -> str: ...

    @property
    def patience(self) -> float | None: ...

    async def run(self, alive: Callable[[], None]) -> None:
        """Until cancelled; `alive` is called whenever it could see what it is for.

        One that cannot go on raises, whatever it is; ending by itself is as bad.
        """
        ...


@mutable
class _Watched:
    """`heard` is the last sign of life, or the start; `well_since` None while it is lost.

    `hung` times in a row it gave none.
    """

    sensor: Sensor
    heard: float
    pause: float = FIRST_PAUSE
    hung: int = 0
    well_since: float | None = None
    told_lost: bool = False


class Supervision:
    """`health` is live, by sensor: "ok", or why there is nothing to be seen."""

    def __init__(self, now: Callable[[], float], feed: Callable[[Event], None]) -> None:
        self.health: dict[str, str] = {}
        self._now = now
        self._feed = feed
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    def start(self, sensor: Sensor) -> None:
        """From now on it runs, whatever becomes of it."""
        self.health[sensor.name] = STARTING
        self._tasks.append(asyncio.create_task(self._keep_running(sensor), name=sensor.name))

    async def first_signs(self, names: Iterable[str]) -> None:
        """Wait until each of these has been seen to see, or not to."""
        for name in names:
            while self.health.get(name, STARTING) == STARTING:
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        """End them all, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_running(self, sensor: Sensor) -> None:
        watched = _Watched(sensor, self._now())
        while True:
            watched.heard = self._now()
            run = asyncio.create_task(sensor.run(lambda: self._alive(watched)))
            try:
                # Told first: what hangs may take its time to end as well.
                self._lose(watched, await self._end_of(run, watched))
            finally:
                run.cancel()
                await asyncio.wait([run])
            await asyncio.sleep(watched.pause)
            watched.pause = min(watched.pause * 2, LONGEST_PAUSE)

    async def _end_of(self, run: asyncio.Task[None], watched: _Watched) -> str:
        """Wait until it ends or gives no sign of life any more; why, in words."""
        usual = watched.sensor.patience
        if usual is None:
            await asyncio.wait([run])
            return _why(run, watched.sensor.name)
        while not run.done():
            # What hangs holds on to something: it is started anew ever more rarely.
            patience = usual * 2**watched.hung
            rest = watched.heard + patience - self._now()
            if rest > 0:
                # No longer than usual: a sign of life makes the patience as short as it was.
                await asyncio.wait([run], timeout=min(rest, usual))
                continue
            # All of us may have been stopped for so long: first it has its turn.
            await asyncio.wait([run], timeout=TURN_SECONDS)
            if not run.done() and self._now() - watched.heard >= patience:
                watched.hung += 1
                return f"no sign of life for {patience:g} s"
        return _why(run, watched.sensor.name)

    def _alive(self, watched: _Watched) -> None:
        name, now = watched.sensor.name, self._now()
        watched.heard, watched.hung = now, 0
        self.health[name] = "ok"
        self._news.set()
        if watched.well_since is None:
            watched.well_since = now
        if watched.told_lost:
            log.info("%s works again", name)
            watched.told_lost = not self._tell(SensorBack(now, name))

    def _lose(self, watched: _Watched, error: str) -> None:
        name, now = watched.sensor.name, self._now()
        if watched.well_since is not None and now - watched.well_since >= LONGEST_PAUSE:
            watched.pause = FIRST_PAUSE
        watched.well_since = None
        told = f"not available: {error}"
        if self.health[name] != told:
            log.warning("sensor %s is %s", name, told)
        self.health[name] = told
        if not watched.told_lost:
            watched.told_lost = self._tell(SensorLost(now, name, error))
        self._news.set()

    def _tell(self, event: Event) -> bool:
        """Whether it was taken; one that was not is told again at the next occasion."""
        try:
            self._feed(event)
        except Exception:
            log.exception("%s could not be told", event)
            return False
        return True


def _why(run: asyncio.Task[None], name: str) -> str:
    """Why it ended, in words."""
    if run.cancelled():
        return "it was cancelled"
    failure = run.exception()
    match failure:
        case None:
            return "it ended by itself"
        case OSError(strerror=text, filename=file) if text:
            return f"{file}: {text}" if file else text
        case OSError() | MalformedMessage():
            return str(failure)
    log.error("%s failed", name, exc_info=failure)
    return f"internal error: {failure}"
