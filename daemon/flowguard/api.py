# SPDX-License-Identifier: GPL-2.0-or-later
"""The methods of the service, once; the control socket and ubus only carry them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from flowguard import __version__
from flowguard.conntrack import DumpInterrupted
from flowguard.core.evidence import ACT, Process, failures_needed
from flowguard.core.model import Device, Level
from flowguard.core.replay import decision_to_json
from flowguard.core.serial import to_json
from flowguard.core.state import Phase, State, allowed
from flowguard.host.clock import monotonic, wall_clock
from flowguard.host.control import ApiError
from flowguard.observation import FlowSeen
from flowguard.offload.nfnetlink import MalformedMessage
from flowguard.service import Service

Method = Callable[[dict[str, Any]], Awaitable[Any]]
FLOWS_SHOWN, FLOWS_MOST = 100, 1000
DECISIONS_MOST = 1000
PUBLIC: dict[str, dict[str, type]] = {
    "status": {},
    "flows": {"limit": int},
    "decisions": {"limit": int},
    "check": {},
    "level": {"level": str},
    "reload": {},
}
"""What ubus offers, with its arguments; `stop` is for the control socket, root's alone."""
TRACKED_FLOWS = "/proc/sys/net/netfilter/nf_conntrack_count"


class Api:
    """Checks arguments and answers with JSON values; extra arguments are ignored."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._methods: dict[str, Method] = {
            "status": self._status,
            "decisions": self._decisions,
            "flows": self._flows,
            "check": self._check,
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
        limit = _limit(params, DECISIONS_MOST, DECISIONS_MOST)
        return _decisions(self._service.state)[-limit:]

    async def _check(self, params: dict[str, Any]) -> Any:
        # Seldom asked for, so not worth its memory until then.
        from flowguard import checks

        path, ubus = self._service.paths.configuration, self._service.devices.ubus
        return to_json(await checks.findings(path, ubus))

    async def _flows(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        limit = _limit(params, FLOWS_SHOWN, FLOWS_MOST)
        try:
            flows = await self._service.observation.flows(limit)
        except (OSError, MalformedMessage, DumpInterrupted) as error:
            raise ApiError(f"the connection table cannot be read: {error}; try again") from None
        now = monotonic()
        return [_flow(flow, now) for flow in flows]

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


def _limit(params: dict[str, Any], default: int, most: int) -> int:
    limit = params.get("limit", default)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= most:
        raise ApiError(f"limit: expected a number from 1 to {most}")
    return limit


def status(service: Service) -> dict[str, Any]:
    """The status object; its keys are listed in the README."""
    state = service.state
    return {
        "level": state.level,
        "wanted": state.wanted,
        "state": Phase.STOPPED if service.stopping else state.phase,
        "reason": service.standby.reason or _reason(state),
        "devices": [_device(state, device) for device in state.devices],
        "missing_devices": list(service.devices.found.missing),
        "left_out": to_json(service.devices.found.left_out),
        "flows": _flows(state),
        "control": _control(service),
        "drain": to_json(state.drain),
        "failure": to_json(state.failure),
        "decisions": _decisions(state),
        "boot": {"id": service.boot_id, "count": None, "unplanned": None},
        "sensors": _sensors(service),
        "problems": list(service.problems),
        "time": monotonic(),
        "version": __version__,
    }


def _sensors(service: Service) -> dict[str, str]:
    ubus = service.ubus.health if service.ubus else "not available: no ubus socket"
    return {**service.sensors, "observation": service.observation.health, "ubus": ubus}


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


def _control(service: Service) -> dict[str, Any]:
    """Both arms, the evidence so far, and what would be needed to act."""
    state, configured = service.state, service.configuration.control_share
    share = state.draw.control_share or configured
    main = state.detector.main
    process = main.process if main else Process()
    seen, weight = process.seen, main.weight if main else 1.0
    # What the other tests have found counts as well.
    others = state.detector.value - weight * process.value
    needed = (
        failures_needed(process, max(0.0, ACT - others) / weight, 1 - 1 / share) if share else None
    )
    return {
        "share": share,
        "observe_share": state.draw.observe_share,
        "observed": state.observed,
        "e_value": state.detector.value,
        "acts_at": ACT,
        "failures_needed": needed,
        "treated": {"n": seen.treated, "failed": seen.treated_failed},
        "control": {"n": seen.control, "failed": seen.control_failed},
        "base_rate": process.base_rate,
        "suspicious": state.draw.control_share is not None,
        "muted_until": state.mute.until if state.time < state.mute.until else None,
        "exonerations": state.mute.exonerations,
        "share_broken": state.detector.share.broken,
        "counters_proven": service.observation.counters_proven,
        "stalled": len(service.observation.stalled()),
        "trial": to_json(state.trial),
    }


def _flow(seen: FlowSeen, now: float) -> dict[str, Any]:
    stalled = seen.stalled_since
    return {
        "flow": str(seen.flow.original),
        "reply": str(seen.flow.reply),
        "level": seen.level,
        "arm": seen.arm,
        "age": None if seen.born is None else now - seen.born,
        "bytes": {"original": seen.bytes[0], "reply": seen.bytes[1]},
        "stalled_for": None if stalled is None else now - stalled,
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
