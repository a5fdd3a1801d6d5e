# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether there is ubus: from the start, later, or never."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowguard.service.control import Call

if TYPE_CHECKING:
    from flowguard.platform.openwrt.ubus_object import UbusObject

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0


class UbusPresence:
    """Publishes the service's object once one of the `sockets` is there, and calls `found`.

    Until then nothing of ubus is imported: where there is none, it costs no memory and one
    look a minute.
    """

    name = "ubus"
    patience: float | None = None

    def __init__(
        self,
        sockets: Sequence[str],
        call: Call,
        methods: Mapping[str, Mapping[str, type]],
        found: Callable[[UbusObject], None],
        first_delay: float = FIRST_DELAY,
    ) -> None:
        self._object: UbusObject | None = None
        self._sockets = sockets
        self._call = call
        self._methods = methods
        self._found = found
        self._first_delay = first_delay

    @property
    def health(self) -> str:
        return self._object.health if self._object else "not available: no ubus socket"

    def look(self) -> UbusObject | None:
        """The object, as soon as it can be published; `run` goes on from there."""
        path = next((path for path in self._sockets if os.path.exists(path)), None)
        if path and not self._object:
            from flowguard.platform.openwrt.ubus_object import UbusObject

            self._object = UbusObject(path, self._call, self._methods, self._first_delay)
            self._found(self._object)
        return self._object

    async def run(self, alive: Callable[[], None]) -> None:
        """Wait for ubus and serve there, until cancelled."""
        delay = self._first_delay
        while not (published := self.look()):
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)
        alive()
        await published.run()

    async def ask(self, path: str, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call another program's object; raises UbusError, or OSError while there is no ubus."""
        if not self._object:
            raise ConnectionError("no ubus socket")
        return await self._object.ask(path, method, arguments)
