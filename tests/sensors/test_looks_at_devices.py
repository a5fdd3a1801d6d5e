# SPDX-License-Identifier: GPL-2.0-or-later
"""Whoever asks for a look at the devices gets one that begins later, and one that succeeds."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable

from flowguard.core.events import Event
from flowguard.sensors.devices import DevicesSensor
from flowguard.sensors.supervise import Supervision
from tests import virtual_time
from tests.virtual_time import now

LOOK_SECONDS = 10


class Looks:
    """A look takes LOOK_SECONDS; `began` says when each was, and `failures` how many fail."""

    def __init__(self, failures: int = 0) -> None:
        self.began: list[float] = []
        self.events: list[Event] = []
        self.sensor = DevicesSensor(self._look)
        self._failures = failures

    async def _look(self) -> None:
        self.began.append(now())
        await asyncio.sleep(LOOK_SECONDS)
        if len(self.began) <= self._failures:
            raise OSError(errno.EINTR, "Interrupted system call")

    def supervised(self, use: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            supervision = Supervision(now, self.events.append)
            supervision.start(self.sensor)
            await use()
            await asyncio.sleep(1000)
            await supervision.close()

        virtual_time.run(main())


def test_all_who_ask_during_a_look_get_one_more_together() -> None:
    looks = Looks()

    async def use() -> None:
        looks.sensor.ask()
        for _ in range(5):
            await asyncio.sleep(1)
            looks.sensor.ask()

    looks.supervised(use)
    assert looks.began == [0, LOOK_SECONDS]


def test_a_look_that_fails_is_taken_again_though_nobody_asks() -> None:
    looks = Looks(failures=2)

    async def use() -> None:
        looks.sensor.ask()

    looks.supervised(use)
    assert looks.began == [0, LOOK_SECONDS + 1, 2 * LOOK_SECONDS + 3]
