# SPDX-License-Identifier: GPL-2.0-or-later
"""The status object: what `flowguard status --json` and ubus return; its keys are in the README."""

from __future__ import annotations

import math
from typing import Any

from flowguard import __version__
from flowguard.core.arms.passing import PASS
from flowguard.core.arms.sequential_test import ACT, Process, failures_needed
from flowguard.core.model import Device
from flowguard.core.replay import decision_to_json
from flowguard.core.serial import to_json
from flowguard.core.state import Phase, State, allowed
from flowguard.kernel.clock import monotonic, wall_clock
from flowguard.service.loop import Service

TRACKED_FLOWS = "/proc/sys/net/netfilter/nf_conntrack_count"


def status(service: Service) -> dict[str, Any]:
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
        "decisions": decisions(state),
        "boot": _boot(service),
        "suspended": state.suspended,
        "held_until": state.held_until if state.time < state.held_until else None,
        "sensors": _sensors(service),
        "problems": list(service.problems),
        "time": monotonic(),
        "version": __version__,
    }


def _sensors(service: Service) -> dict[str, str]:
    return {
        **service.listeners.health,
        **service.polling.health,
        "observation": service.observation.health,
        "store": service.ledger.health,
        "ubus": service.ubus.health if service.ubus else "not wanted",
    }


def _boot(service: Service) -> dict[str, Any]:
    """How this boot came about, and what the ones before left behind."""
    boots = service.state.boots
    return {
        "id": service.boot_id,
        "count": boots.count,
        "unplanned": boots.unplanned,
        "evidence": boots.evidence,
        "unexplained": len(boots.unknown),
        "short_boots": boots.early,
        "looping": boots.looping,
        "kernel": boots.kernel,
        "sources": dict(service.ledger.sources),
    }


def decisions(state: State) -> list[dict[str, Any]]:
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
        "strikes": state.strikes_left(verdict) if verdict else 0,
        "canary": verdict.canary if verdict and verdict.canary else None,
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
    share = state.draw.control_in(configured)
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
        "canary": _canary(state),
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


def _canary(state: State) -> dict[str, Any] | None:
    """How far the present stage is: one in `share` flows, seen and proven so far."""
    if not state.draw.canary:
        return None
    tests = {
        str(kind): {
            "n": test.seen.treated,
            "failed": test.seen.treated_failed,
            "e_value": math.exp(min(test.log_e, 300.0)),
        }
        for kind, test in state.canary_tests
    }
    return {"share": state.draw.canary, "passes_at": PASS, **tests}


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
