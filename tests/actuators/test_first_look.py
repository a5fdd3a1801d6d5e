# SPDX-License-Identifier: GPL-2.0-or-later
"""The first look at an engine is on flash before the kernel is asked."""

from __future__ import annotations

import asyncio
import errno

import pytest

from flowguard.actuators.first_look import CarefulEngines
from flowguard.core.events import Event, LookBegun, LookEnded
from flowguard.core.model import FlowTuple
from flowguard.kernel.engines import EngineEntry
from tests import virtual_time
from tests.sensors.machine import Disk, PacketEngines
from tests.virtual_time import now

ENTRY = EngineEntry(FlowTuple("tcp", "192.0.2.1", "192.0.2.2", 1, 2), None, True, None)
BEGUN, ENDED = LookBegun, LookEnded


class Eye:
    """Careful looks at an engine; flash takes `seconds`."""

    def __init__(self, seconds: float = 0, files: Disk | None = None) -> None:
        files = files or Disk()
        self.engines = PacketEngines()
        self.engines.entries = [ENTRY] * 250
        self.seconds = seconds
        self.heard: list[Event] = []
        self.is_shut = False
        self.careful = CarefulEngines(
            self.engines,
            files,
            "/run/engine-seen",
            now,
            self.heard.append,
            self._kept,
            lambda: self.is_shut,
        )

    async def _kept(self) -> None:
        await asyncio.sleep(self.seconds)

    @property
    def told(self) -> list[type[Event]]:
        return [type(event) for event in self.heard]

    async def look(self) -> int:
        return sum([len(chunk) async for chunk in self.careful.sweep(only_bound=True)])


def test_the_kernel_is_asked_when_it_is_on_flash_and_that_once() -> None:
    async def use() -> None:
        eye = Eye(seconds=3)
        look = asyncio.create_task(eye.look())
        await asyncio.sleep(2.9)
        assert eye.told == [BEGUN] and not eye.engines.sweeps
        assert await look == 250
        assert eye.told == [BEGUN, ENDED] and eye.heard[1].time >= 3
        assert await eye.look() == 250
        assert eye.told == [BEGUN, ENDED]

    virtual_time.run(use())


def test_the_next_daemon_of_the_same_boot_spares_flash() -> None:
    async def use() -> None:
        files = Disk()
        assert await Eye(files=files).look() == 250
        another = Eye(files=files)
        assert await another.look() == 250
        assert another.told == []

    virtual_time.run(use())


def test_an_empty_table_is_a_look_as_well() -> None:
    async def use() -> None:
        eye = Eye()
        eye.engines.entries = []
        assert await eye.look() == 0
        assert eye.told == [BEGUN, ENDED]

    virtual_time.run(use())


def test_a_look_that_hangs_has_not_ended() -> None:
    async def use() -> None:
        eye = Eye()
        eye.engines.hangs = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(eye.look(), 100)
        eye.engines.hangs, eye.engines.failure = False, OSError(errno.EBUSY, "an earlier look")
        with pytest.raises(OSError, match="an earlier look"):
            await eye.look()
        assert ENDED not in eye.told

    virtual_time.run(use())


def test_a_driver_that_refuses_has_survived_it() -> None:
    async def use() -> None:
        eye = Eye()
        eye.engines.failure = OSError(errno.EIO, "Input/output error")
        with pytest.raises(OSError, match="Input"):
            await eye.look()
        assert eye.told == [BEGUN, ENDED]

    virtual_time.run(use())


def test_whoever_has_seen_enough_has_survived_it() -> None:
    async def use() -> None:
        eye = Eye()
        sweep = eye.careful.sweep(only_bound=True)
        assert await anext(sweep)
        await sweep.aclose()
        assert eye.told == [BEGUN, ENDED]

    virtual_time.run(use())


def test_a_shut_eye_sees_no_engine_and_asks_nothing() -> None:
    async def use() -> None:
        eye = Eye()
        eye.is_shut = True
        assert not eye.careful.are_readable()
        assert await eye.look() == 0
        assert eye.told == [] and not eye.engines.sweeps
        eye.is_shut = False
        assert eye.careful.are_readable()

    virtual_time.run(use())
