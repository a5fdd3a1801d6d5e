# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells whoever started the daemon that it is ready, and that its main loop still turns.

systemd and procd start a daemon anew that has fallen silent; see the modules of their names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from flowguard.core.interface import Interface

SIGNS_PER_TIMEOUT = 3
"""So many signs of life are given where one would do, as one may come late."""

BusCall = Callable[[str, str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Calls an object on ubus: its path, a method, arguments."""


class Supervisor(Interface):
    """`interval` are the seconds from one sign of life to the next; None: nobody waits for any.

    `ready` and `alive` raise OSError when the supervisor cannot be told.
    """

    interval: float | None

    async def ready(self) -> None: ...

    async def alive(self) -> None: ...


def find(environment: Mapping[str, str], bus: BusCall | None) -> Supervisor | None:
    """Whoever supervises this process, by the environment it was given; None: nobody."""
    if "NOTIFY_SOCKET" in environment:
        from flowguard.platform.systemd.readiness import Systemd

        return Systemd(environment)
    timeout = environment.get("FLOWGUARD_WATCHDOG", "")
    if bus and timeout.isdigit() and int(timeout) > 0:
        from flowguard.platform.openwrt.procd import Procd

        return Procd(bus, int(timeout))
    return None


class Attendance:
    """Says that the daemon is ready, then gives signs of life; runs like a sensor."""

    name = "supervisor"
    patience: float | None = None

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._is_ready = False

    async def run(self, alive: Callable[[], None]) -> None:
        """Until cancelled; raises OSError when the supervisor cannot be told."""
        while True:
            if not self._is_ready:
                await self._supervisor.ready()
                self._is_ready = True
            else:
                await self._supervisor.alive()
            alive()
            if self._supervisor.interval is None:
                await asyncio.get_running_loop().create_future()
            else:
                await asyncio.sleep(self._supervisor.interval)
