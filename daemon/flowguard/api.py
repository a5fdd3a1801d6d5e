# SPDX-License-Identifier: GPL-2.0-or-later
"""The methods of the service, once; the control socket and ubus only carry them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from flowguard import __version__
from flowguard.core.model import Device, Level
from flowguard.core.replay import decision_to_json
from flowguard.core.serial import to_json
from flowguard.core.state import Phase, State, allowed
from flowguard.host.clock import monotonic, wall_clock
from flowguard.host.control import ApiError
from flowguard.service import Service

Method = Callable[[dict[str, Any]], Awaitable[Any]]
TRACKED_FLOWS = "/proc/sys/net/netfilter/nf_conntrack_count"


class Api:
    """Checks arguments and answers with JSON values; extra arguments are ignored."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._methods: dict[str, Method] = {
            "status": self._status,
            "decisions": self._decisions,
            "level": self._level,
            "reload": self._reload,
            "stop": self._stop,
        }

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Run one method; ApiError when the method or an argument is not known."""
        function = self._methods.get(method)
        if function is None:
            raise ApiError(f"unknown method {method!r}; known: {', '.join(self._methods)}")
        return await function(params)

    async def _status(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._service.look_at_flows()
        return status(self._service)

    async def _decisions(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        return _decisions(self._service.state)

    async def _level(self, params: dict[str, Any]) -> dict[str, Any]:
        try:
            level = Level(params.get("level", ""))
        except ValueError:
            raise ApiError(f"level: expected one of {', '.join(Level)}") from None
        self._service.set_wanted(level)
        return status(self._service)

    async def _reload(self, params: dict[str, Any]) -> dict[str, Any]:
        await self._service.reload()
        return {"problems": list(self._service.problems)}

    async def _stop(self, params: dict[str, Any]) -> dict[str, Any]:
        left: list[str] = []
        if params.get("release"):
            left = [str(t) for t in await self._service.release()]
        else:
            self._service.stop()
        return {"left_in_hardware": left}


def status(service: Service) -> dict[str, Any]:
    """The status object; its keys are listed in the README."""
    state = service.state
    return {
        "level": state.level,
        "wanted": state.wanted,
        "state": Phase.STOPPED if service.stopping else state.phase,
        "reason": _reason(state),
        "devices": [_device(state, device) for device in state.devices],
        "missing_devices": list(service.devices.missing),
        "flows": _flows(state),
        "control": {"share": service.configuration.control_share, "e_value": None},
        "drain": to_json(state.drain),
        "failure": to_json(state.failure),
        "decisions": _decisions(state),
        "boot": {"id": service.boot_id, "count": None, "unplanned": None},
        "sensors": dict(service.sensors),
        "problems": list(service.problems),
        "time": monotonic(),
        "version": __version__,
    }


def _decisions(state: State) -> list[dict[str, Any]]:
    return [{**decision_to_json(d), "at": wall_clock(d.time)} for d in state.decisions]


def _device(state: State, device: Device) -> dict[str, Any]:
    verdict = state.verdict_on(device.name)
    held = verdict if verdict and state.holds(verdict) else None
    level = state.level_of(device.name)
    return {
        "name": device.name,
        "driver": device.driver,
        "level": level,
        "hardware_capable": device.hardware_capable,
        "held_off_until": held.held_until if held and not held.until_reboot else None,
        "held_until_reboot": held is not None and held.until_reboot,
        "strikes": verdict.strikes if verdict else 0,
        "reason": "" if level is state.wanted else allowed(state, device)[1],
    }


def _flows(state: State) -> dict[str, int | None]:
    seen = state.flows
    if not seen:
        return {"hardware": None, "software": None, "none": None, "refused": None}
    tracked = _tracked_flows()
    plain = None if tracked is None else max(0, tracked - seen.hardware - seen.software)
    return {
        "hardware": seen.hardware,
        "software": seen.software,
        "none": plain,
        "refused": seen.refused,
    }


def _tracked_flows() -> int | None:
    try:
        with open(TRACKED_FLOWS, encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return None


def _reason(state: State) -> str:
    """Why things are as they are, in one sentence."""
    if state.drain:
        waiting = "hardware is being drained"
        if state.drain.flows is None:
            return waiting
        left = f"{state.drain.flows} flows and {state.drain.engine_entries} engine entries left"
        return f"{waiting}: {left}" + (" (overdue)" if state.drain.overdue else "")
    if state.failure:
        return f"the kernel refused the flowtables: {state.failure.error}"
    if not state.devices:
        return "no usable device"
    reasons = {
        f"{d.name}: {allowed(state, d)[1]}"
        for d in state.devices
        if state.level_of(d.name) is not state.wanted
    }
    return "; ".join(sorted(reasons)) or "every device is on the wanted level"
