# SPDX-License-Identifier: GPL-2.0-or-later
"""ubus over any number of connections: what is registered here comes back after ubusd does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from flowguard.ubus.asking import DEFAULT_TIMEOUT
from flowguard.ubus.connection import DEFAULT_SOCKET, Connection
from flowguard.ubus.errors import UbusError
from flowguard.ubus.serving import DataHandler, Method
from flowguard.ubus.wire import Status

log = logging.getLogger(__name__)

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0


class _Registration:
    """One thing to register on every connection; `id` while it is, `error` why it is not."""

    def __init__(self, name: str, register: Callable[[Connection], Any]) -> None:
        self.name = name
        self.register = register
        self.id: int | None = None
        self.error = ""
        self.ended = False


class Bus:
    """Keeps objects, listeners and subscriptions registered while `run` runs.

    A registration that ubusd refuses (name taken, no permission, nobody to subscribe to) is
    tried again like a connection: after `first_delay` seconds, doubling up to 30, and at once
    when an object appears. `changed` is called whenever `connected` changes.
    """

    def __init__(
        self,
        path: str = DEFAULT_SOCKET,
        changed: Callable[[], None] | None = None,
        first_delay: float = FIRST_DELAY,
    ) -> None:
        self._path = path
        self._changed = changed
        self._first_delay = first_delay
        self._connection: Connection | None = None
        self._registrations: list[_Registration] = []
        self._wake = asyncio.Event()
        self._reason = "not started"

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def status(self) -> str:
        """For people: how it stands, and what is not registered and why."""
        if not self._connection:
            return f"not connected: {self._reason}"
        missing = [f"{r.name}: {r.error}" for r in self._registrations if r.error]
        return "; ".join(["connected", *missing])

    def add_object(self, path: str, methods: Mapping[str, Method]) -> None:
        self._add(f"object {path}", lambda connection: connection.add_object(path, methods))

    def listen(
        self, pattern: str, handler: DataHandler, begun: Callable[[], None] = lambda: None
    ) -> None:
        """Events of a name or beginning; `begun` is called when listening begins, also anew."""

        async def register(connection: Connection) -> int:
            listener = await connection.listen(pattern, handler)
            begun()
            return listener

        self._add(f"events {pattern}", register)

    def subscribe(self, path: str, handler: DataHandler) -> None:
        """Notifications of an object, also of one that appears later or comes back."""
        if not any(r.name == _APPEARED for r in self._registrations):
            self._add(_APPEARED, lambda c: c.listen("ubus.object.add", self._appeared))

        def ended() -> None:
            registration.id = None
            registration.ended = True
            self._wake.set()

        registration = self._add(
            f"subscription to {path}", lambda c: c.subscribe(path, handler, ended)
        )

    async def call(
        self,
        path: str,
        method: str,
        arguments: dict[str, Any] | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> dict[str, Any]:
        """As Connection.call; CONNECTION_FAILED at once while there is no ubusd."""
        return await self._connected().call(path, method, arguments, timeout)

    async def send_event(self, name: str, data: dict[str, Any]) -> None:
        """As Connection.send_event; CONNECTION_FAILED at once while there is no ubusd."""
        await self._connected().send_event(name, data)

    def notify(self, path: str, name: str, data: dict[str, Any]) -> None:
        """Tell who subscribed to an object added here; nothing when nobody did."""
        for registration in self._registrations:
            if registration.name != f"object {path}" or registration.id is None:
                continue
            if self._connection and self._connection.has_subscribers(registration.id):
                self._connection.notify(registration.id, name, data)

    async def run(self) -> None:
        """Until cancelled."""
        delay = self._first_delay
        while True:
            try:
                connection = await Connection.connect(self._path)
            except (OSError, UbusError) as error:
                self._say(f"{self._path}: {getattr(error, 'strerror', None) or error}")
            else:
                delay = self._first_delay
                await self._use(connection)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    async def _use(self, connection: Connection) -> None:
        self._connection = connection
        connection.lost.add_done_callback(lambda _: self._wake.set())
        self._announce()
        try:
            await self._keep_registered(connection)
        finally:
            lost = connection.lost.done()
            connection.close()
            self._connection = None
            for registration in self._registrations:
                registration.id = None
            if lost:
                self._say(connection.lost.result())
            else:
                self._reason = "stopped"
            self._announce()

    async def _keep_registered(self, connection: Connection) -> None:
        delay = self._first_delay
        while not connection.lost.done():
            self._wake.clear()
            for registration in [r for r in self._registrations if r.id is None]:
                await self._register(registration, connection)
            complete = all(r.id is not None for r in self._registrations)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if complete else delay):
                    await self._wake.wait()
            delay = self._first_delay if complete else min(delay * 2, LONGEST_DELAY)

    async def _register(self, registration: _Registration, connection: Connection) -> None:
        error = ""
        registration.ended = False
        try:
            given = await registration.register(connection)
            # It may have ended before the answer got here.
            registration.id = None if registration.ended else given
        except UbusError as refused:
            error = str(refused)
            # The reason for all of them alike is said once, when the connection is given up.
            if error != registration.error and not connection.lost.done():
                log.warning("ubus: %s: %s", registration.name, error)
        registration.error = error

    def _add(self, name: str, register: Callable[[Connection], Any]) -> _Registration:
        registration = _Registration(name, register)
        self._registrations.append(registration)
        self._wake.set()
        return registration

    def _appeared(self, event: str, data: dict[str, Any]) -> None:
        if any(r.name.endswith(f" {data.get('path')}") for r in self._registrations):
            self._wake.set()

    def _connected(self) -> Connection:
        if not self._connection:
            raise UbusError(Status.CONNECTION_FAILED, self.status)
        return self._connection

    def _say(self, reason: str) -> None:
        if reason != self._reason:
            log.warning("ubus: not connected: %s", reason)
        self._reason = reason

    def _announce(self) -> None:
        if self._changed:
            self._changed()


_APPEARED = "events ubus.object.add"
