# SPDX-License-Identifier: GPL-2.0-or-later
"""The ubus object `flowguard` and its events; imported only where there is ubus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from flowguard.core.model import Decision, Fault
from flowguard.platform.log import carried
from flowguard.service.control import ApiError, Call, NotKnown, NotNow
from flowguard.ubus.blob import BlobError, Type, encode
from flowguard.ubus.bus import FIRST_DELAY, Bus
from flowguard.ubus.errors import UbusError
from flowguard.ubus.serving import Caller, Handler, Method
from flowguard.ubus.wire import Status

log = logging.getLogger(__name__)

NAME = "flowguard"
REPLY_LIMIT = 240 * 1024
"""Bytes of a reply; with its frame it stays under 256 KiB."""
EVENTS_LIMIT = 64
"""Events on their way at a time; a stuck ubusd must not cost memory without bound."""
_TYPES = {int: Type.INT32, str: Type.STRING}
_REFUSALS = {
    ApiError: Status.INVALID_ARGUMENT,
    NotKnown: Status.NOT_FOUND,
    NotNow: Status.NO_DATA,
}


class UbusObject:
    """Carries the methods of the service and tells who listens what happened."""

    def __init__(
        self,
        path: str,
        call: Call,
        methods: Mapping[str, Mapping[str, type]],
        first_delay: float = FIRST_DELAY,
    ) -> None:
        self._call = call
        self._bus = Bus(path, first_delay=first_delay)
        self._sending: set[asyncio.Task[None]] = set()
        self.path = path
        self._bus.add_object(NAME, {name: self._method(name, methods[name]) for name in methods})

    @property
    def health(self) -> str:
        status = self._bus.status
        return "ok" if status == "connected" else f"not available: {status}"

    def follow(self, name: str, heard: Callable[[], None]) -> None:
        """Call `heard` whenever what another program's object says may have changed.

        That is when the event of the object's name is sent, when the object appears, and when
        listening begins anew, as nobody knows what was sent before. Call it before `run`.
        """

        def appeared(event: str, data: dict[str, Any]) -> None:
            if data.get("path") == name:
                heard()

        self._bus.listen("ubus.object.add", appeared)
        self._bus.listen(name, lambda event, data: heard(), heard)

    async def run(self) -> None:
        """Until cancelled; what is lost with ubusd comes back with it."""
        await self._bus.run()

    async def ask(self, path: str, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call another program's object; raises UbusError."""
        return await self._bus.call(path, method, arguments)

    def moved(self, decision: Decision) -> None:
        """Event `flowguard.level`."""
        self._send(
            "flowguard.level",
            {
                "device": decision.device,
                "from": decision.before,
                "to": decision.after,
                "reason": decision.reason,
                "evidence": decision.evidence,
            },
        )

    def fault_seen(self, fault: Fault) -> None:
        """Event `flowguard.fault`."""
        self._send(
            "flowguard.fault",
            {
                "rule": fault.rule,
                "attribution": fault.attribution,
                "device": fault.device,
                "driver": fault.driver,
                "line": fault.line,
            },
        )

    def power_cycle_needed(self, device: str, evidence: str) -> None:
        """Event `flowguard.power_cycle`."""
        self._send("flowguard.power_cycle", {"device": device, "evidence": evidence})

    def _method(self, name: str, arguments: Mapping[str, type]) -> Method:
        return Method(self._handler(name), {a: _TYPES[kind] for a, kind in arguments.items()})

    def _handler(self, name: str) -> Handler:
        async def handle(arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
            try:
                answer = await self._call(name, arguments)
            except ApiError as error:
                log.warning("ubus: %s by %s: %s", name, caller.user or "unknown", error)
                raise UbusError(_REFUSALS[type(error)], str(error)) from None
            carried = _carried(answer)
            return _fitted({name: carried} if isinstance(answer, list) else carried)

        return handle

    def _send(self, event: str, data: dict[str, Any]) -> None:
        if not self._bus.connected:
            return
        if len(self._sending) >= EVENTS_LIMIT:
            log.warning("ubus: event %s is left out: ubusd does not keep up", event)
            return
        task = asyncio.get_running_loop().create_task(self._deliver(event, _carried(data)))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(self, event: str, data: dict[str, Any]) -> None:
        try:
            await self._bus.send_event(event, data)
        except (UbusError, BlobError) as error:
            log.warning("ubus: event %s was not sent: %s", event, error)


def _fitted(reply: dict[str, Any]) -> dict[str, Any]:
    """What would make the reply too large is left out at the end of its longest lists.

    `cut` says of each of these how many items are missing.
    """
    cut: dict[str, int] = {}
    while (excess := sum(map(_size, reply.values())) - REPLY_LIMIT) > 0:
        lists = {name: _size(value) for name, value in reply.items() if isinstance(value, list)}
        name = max(lists, key=lambda name: lists[name], default="")
        if not lists.get(name):
            break  # What is no list is too large by itself.
        items, size = reply[name], lists[name]
        kept = max(0, min(len(items) - 1, len(items) * (size - excess) // size))
        cut[name] = cut.get(name, 0) + len(items) - kept
        reply = {**reply, name: items[:kept], "cut": cut}
    return reply


def _size(value: Any) -> int:
    """Bytes of it in a reply, near enough; of a list the sum, which may be more than one can be."""
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(encode({"x": value}))


def _carried(value: Any) -> Any:
    """Text of the kernel and of drivers can hold what blobmsg text cannot."""
    if isinstance(value, str):
        return carried(value)
    if isinstance(value, dict):
        return {key: _carried(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_carried(item) for item in value]
    return value
