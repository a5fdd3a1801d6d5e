# SPDX-License-Identifier: GPL-2.0-or-later
"""Lives of a daemon that follows the kernel log, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from flowguard.core.faults import QUIET_SECONDS
from flowguard.core.model import Fault
from flowguard.rules import load
from flowguard.sensors.kernel_log import KernelLogSensor
from tests import virtual_time
from tests.sensors.machine import Parts

RULES = load()
BUSY = "mtk_soc_eth 15100000.ethernet: PPE table busy"
ORDINARY = "br-lan: port 1(lan1) entered forwarding state"
STALL = "rcu: INFO: rcu_sched self-detected stall on CPU"


class Daemon:
    """One life of the daemon as far as the sensor goes, from `start` to `stop`."""

    def __init__(self, parts: Parts, on_fault: Callable[[Fault], None] | None = None) -> None:
        self.faults: list[Fault] = []
        self.alive = 0
        self.sensor = KernelLogSensor(
            parts.machine, RULES, "/run/flowguard", on_fault or self.faults.append
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.sensor.run(self._is_alive))
        await asyncio.sleep(0.001)

    async def stop(self) -> None:
        assert self._task and not self._task.done()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def end(self) -> BaseException | None:
        """What it ends with by itself."""
        assert self._task
        await asyncio.wait([self._task])
        return self._task.exception()

    @property
    def rules(self) -> list[str]:
        return [fault.rule for fault in self.faults]

    def _is_alive(self) -> None:
        self.alive += 1


def play(story: Callable[[Parts], Awaitable[None]], parts: Parts | None = None) -> None:
    async def main() -> None:
        await story(parts or Parts())

    virtual_time.run(main())


async def life(parts: Parts, *lines: str) -> list[str]:
    """The rules of the faults that one life of the daemon tells while this is logged."""
    daemon = Daemon(parts)
    await daemon.start()
    if lines:
        parts.kernel_log.write(*lines)
    await asyncio.sleep(2 * QUIET_SECONDS)
    await daemon.stop()
    return daemon.rules
