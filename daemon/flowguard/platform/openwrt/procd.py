# SPDX-License-Identifier: GPL-2.0-or-later
"""procd as the supervisor: the method `watchdog` of its object `service` (service/service.c)."""

from __future__ import annotations

from flowguard.platform.supervisor import SIGNS_PER_TIMEOUT, BusCall
from flowguard.ubus.errors import UbusError


class Procd:
    """`timeout` are the seconds that the init script told procd to wait for a sign of life."""

    def __init__(self, call: BusCall, timeout: float) -> None:
        self.interval: float | None = timeout / SIGNS_PER_TIMEOUT
        self._call = call

    async def ready(self) -> None:
        """procd does not ask."""

    async def alive(self) -> None:
        try:
            await self._call("service", "watchdog", {"name": "flowguard", "instance": "main"})
        except UbusError as error:
            raise ConnectionError(f"procd: {error}") from None
