# SPDX-License-Identifier: GPL-2.0-or-later
"""The methods of the service, once; the control socket and ubus only carry them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from flowguard.actuators.approach import ConvergeError
from flowguard.core.model import Level
from flowguard.core.requests import (
    ForgetAsked,
    HoldAsked,
    Request,
    RetryAsked,
    SuspendAsked,
    WantedChanged,
)
from flowguard.core.serial import to_json
from flowguard.kernel.conntrack import DumpInterrupted
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.service.control import ApiError, NotKnown, NotNow
from flowguard.service.loop import Service
from flowguard.service.running import End, Running
from flowguard.service.status import decisions, status

Method = Callable[[dict[str, Any]], Awaitable[Any]]
FLOWS_SHOWN, FLOWS_MOST = 100, 1000
DECISIONS_MOST = 1000
HOLD_MOST = 30 * 86400
NAME_SHOWN = 64
START_SHOWN_SECONDS = 5.0
"""A status is complete after the start; where that hangs, what is known is better than nothing."""
PUBLIC: dict[str, dict[str, type]] = {
    "status": {},
    "flows": {"limit": int, "level": str, "host": str, "device": str, "why": str},
    "decisions": {"limit": int},
    "check": {},
    "level": {"level": str},
    "retry": {},
    "hold": {"seconds": int},
    "suspend": {},
    "resume": {},
    "forget": {"device": str},
    "reload": {},
}
"""What ubus offers, with its arguments; `stop` is for the control socket, root's alone."""


class Api:
    """Checks arguments and answers with JSON values; extra arguments are ignored."""

    def __init__(self, service: Service, running: Running) -> None:
        self._service = service
        self._running = running
        self._now = service.now
        self._methods: dict[str, Method] = {
            "status": self._status,
            "decisions": self._decisions,
            "flows": self._flows,
            "check": self._check,
            "level": self._level,
            "retry": self._retry,
            "hold": self._hold,
            "suspend": self._suspend,
            "resume": self._resume,
            "forget": self._forget,
            "reload": self._reload,
            "stop": self._stop,
        }

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Run one method; ApiError, or what kind of it this is, when it cannot be served."""
        function = self._methods.get(method)
        if function is None:
            raise ApiError(f"unknown method {method!r}; known: {', '.join(self._methods)}")
        if method == "status":
            await self._running.started_within(START_SHOWN_SECONDS)
        elif method != "stop":
            await self._running.started()
        return await function(params)

    async def _status(self, params: dict[str, Any]) -> dict[str, Any]:
        """From what is known: whoever looks every second must not cost a walk over all flows."""
        return status(self._service, self._running)

    async def _decisions(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        limit = _limit(params, DECISIONS_MOST, DECISIONS_MOST)
        return decisions(self._service)[-limit:]

    async def _check(self, params: dict[str, Any]) -> Any:
        # Seldom asked for, so not worth its memory until then.
        from flowguard import checks

        service = self._service
        found = await checks.findings(
            service.machine,
            service.surroundings,
            service.paths.configuration,
            service.state.devices,
            service.fault_rules.left_out,
        )
        return to_json(found)

    async def _flows(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        # Seldom asked for, so not worth its memory until then.
        from flowguard.service.explaining import Explaining, described, wanted_by

        service = self._service
        limit, wanted = _limit(params, FLOWS_SHOWN, FLOWS_MOST), wanted_by(params)
        asked = Explaining(service)
        try:
            flows = await service.arms.flows(limit, lambda entry: asked.is_wanted(entry, wanted))
            reasons = await asked.reasons_of(flows)
        except (OSError, MalformedMessage, DumpInterrupted) as error:
            raise NotNow(f"the connection table cannot be read: {error}; try again") from None
        bound, now = service.engine_table.bound, self._now()
        return [
            described(flow, reason, bound(flow.entry), now)
            for flow, reason in zip(flows, reasons, strict=True)
        ]

    async def _level(self, params: dict[str, Any]) -> dict[str, Any]:
        try:
            level = Level(params.get("level", ""))
        except ValueError:
            raise ApiError(f"level: expected one of {', '.join(Level)}") from None
        return self._asked(WantedChanged(self._now(), level))

    async def _retry(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._asked(RetryAsked(self._now()))

    async def _hold(self, params: dict[str, Any]) -> dict[str, Any]:
        seconds = _number("seconds", params.get("seconds"), 0, HOLD_MOST)
        return self._asked(HoldAsked(self._now(), seconds))

    async def _suspend(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._asked(SuspendAsked(self._now(), suspended=True))

    async def _resume(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._asked(SuspendAsked(self._now(), suspended=False))

    async def _forget(self, params: dict[str, Any]) -> dict[str, Any]:
        device = params.get("device")
        if device is not None and not (isinstance(device, str) and device):
            raise ApiError("device: expected a name, or nothing at all for all devices")
        known = [v.device for v in self._service.state.verdicts]
        if device is not None and device not in known:
            remembered = ", ".join(known) or "none"
            name = device[:NAME_SHOWN]
            raise NotKnown(f"device: nothing is remembered against {name!r}; known: {remembered}")
        return self._asked(ForgetAsked(self._now(), device))

    def _asked(self, request: Request) -> dict[str, Any]:
        self._service.feed(request)
        return status(self._service, self._running)

    async def _reload(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._running.reload()
        return {"problems": list(self._service.problems.lines)}

    async def _stop(self, params: dict[str, Any]) -> dict[str, Any]:
        try:
            # A client of the version before says only whether to release.
            how = End.RELEASE if params.get("release") else End(params.get("how", End.DRAIN))
        except ValueError:
            raise ApiError(f"how: expected one of {', '.join(End)}") from None
        try:
            left = await self._running.end(how)
        except ConvergeError as error:
            raise NotNow(f"the kernel refuses: {error}; flowguard goes on guarding") from None
        return {"left_in_hardware": [str(flow) for flow in left]}


def _limit(params: dict[str, Any], default: int, most: int) -> int:
    return _number("limit", params.get("limit", default), 1, most)


def _number(name: str, value: Any, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ApiError(f"{name}: expected a number from {low} to {high}")
    return value
