# SPDX-License-Identifier: GPL-2.0-or-later
"""The status object: what `flowguard status --json` and ubus return; its keys are in the README."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowguard import __version__
from flowguard.core.arms.passing import PASS
from flowguard.core.arms.sequential_test import ACT, Process, failures_needed
from flowguard.core.model import Device
from flowguard.core.records import fields
from flowguard.core.replay import decision_to_json
from flowguard.core.serial import to_json
from flowguard.core.state import Phase, State, allowed

if TYPE_CHECKING:
    from flowguard.service.loop import Service
    from flowguard.service.running import Running

TRACKED_FLOWS = "net/netfilter/nf_conntrack_count"
STUCK_SECONDS = 10.0
REFUSED_REMEDY = "install kmod-nft-offload (OpenWrt), or load nft_flow_offload and nft_hash"


def status(service: Service, running: Running) -> dict[str, Any]:
    state = service.state
    return {
        "level": state.level,
        "wanted": state.wanted,
        "state": Phase.STOPPED if running.stopping else state.phase,
        "reason": _reason(state),
        "devices": [_device(state, device) for device in state.devices],
        "missing_devices": list(service.devices.found.missing),
        "left_out": to_json(service.devices.found.left_out),
        "flows": _flows(service),
        "bytes": _bytes(service),
        "control": _control(service),
        "drain": to_json(state.drain),
        "parked": list(state.parked),
        "failure": to_json(state.failure),
        "decisions": decisions(service),
        "boot": _boot(service),
        "suspended": state.suspended,
        "held_until": state.held_until if state.time < state.held_until else None,
        "sensors": _sensors(service),
        "problems": [*service.problems.lines, *_problems(service)],
        "time": service.now(),
        "version": __version__,
    }


def _sensors(service: Service) -> dict[str, str]:
    health = service.supervision.health
    return {
        **health,
        "engine": service.engine_table.detail or health.get("engine", "starting"),
        "counters": service.flow_counts.counters,
        "bytes": service.flow_counts.bytes_counted,
        "store": service.ledger.health,
        **service.telling.health,
        **{name: tell() for name, tell in service.other_health.items()},
    }


def _problems(service: Service) -> Iterator[str]:
    """What is wrong just now, with what would mend it."""
    state, since = service.state, service.tables.busy_since
    yield from service.standby.competitors
    if state.standby:
        yield state.standby
    if state.failure:
        yield f"the kernel refused the flowtables: {state.failure.error}; {REFUSED_REMEDY}"
    if since is not None and service.now() - since > STUCK_SECONDS:
        yield (
            f"the kernel has been at a change of the flowtables for {service.now() - since:.0f} s:"
            " a driver may be stuck; only a reboot ends that"
        )
    if state.parked:
        yield (
            f"{', '.join(state.parked)} could not be drained; the driver forgets flows, and"
            " only a reboot clears them"
        )


def _boot(service: Service) -> dict[str, Any]:
    """How this boot came about, and what the ones before left behind."""
    boots = service.state.boots
    return {
        "id": service.machine.clock.boot_id,
        "count": boots.count,
        "unplanned": boots.unplanned,
        "evidence": boots.evidence,
        "unexplained": len(boots.unknown),
        "short_boots": boots.early,
        "looping": boots.looping,
        "kernel": boots.kernel,
        "sources": dict(service.ledger.sources),
    }


def decisions(service: Service) -> list[dict[str, Any]]:
    at = service.machine.clock.wall_clock
    return [{**decision_to_json(d), "at": at(d.time)} for d in service.state.decisions]


def _device(state: State, device: Device) -> dict[str, Any]:
    verdict = state.verdict_on(device.name)
    held = verdict if verdict and state.holds(verdict) else None
    level = state.reached_by(device.name)
    return {
        "name": device.name,
        "driver": device.driver,
        "level": level,
        "allowed": allowed(state, device)[0],
        "hardware_capable": device.hardware_capable,
        "held_off_until": held.held_until if held and not held.until_reboot else None,
        "held_until_reboot": held is not None and held.until_reboot,
        "needs_power_cycle": held is not None and held.power_cycle,
        "strikes": state.strikes_left(verdict) if verdict else 0,
        "canary": verdict.canary if verdict and verdict.canary else None,
        "reason": _why_lower(state, device),
    }


def _why_lower(state: State, device: Device) -> str:
    """Why it is on another level than is wanted; "" when it is on that."""
    if state.reached_by(device.name) is state.wanted:
        return ""
    limit, why = allowed(state, device)
    return "on the way there" if limit is state.wanted else why


def _flows(service: Service) -> dict[str, int | None]:
    seen = service.state.flows
    if not seen:
        return {"hardware": None, "software": None, "none": None, "refused": None}
    tracked = _tracked_flows(service)
    plain = None if tracked is None else max(0, tracked - seen.hardware - seen.software)
    # What a driver has accepted may not be in its engine, or not any more.
    missing = min(service.engine_table.missing, seen.hardware)
    return {
        "hardware": seen.hardware - missing,
        "software": seen.software + missing,
        "none": plain,
        "refused": seen.refused,
    }


def _bytes(service: Service) -> dict[str, dict[str, float | None]] | None:
    """Bytes by path since the boot, and a second over the last minute; None: not counted."""
    totals, rates = service.byte_counts.totals, service.byte_counts.rates()
    if totals is None or service.flow_counts.bytes_counted != "ok":
        return None
    return {
        path: {"total": getattr(totals, path), "rate": getattr(rates, path) if rates else None}
        for path in fields(totals)
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
        "counters_proven": service.arms.counters_proven,
        "stalled": len(service.arms.stalled()),
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


def _tracked_flows(service: Service) -> int | None:
    try:
        return service.machine.sysctls.get(TRACKED_FLOWS)
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
    if state.standby:
        return state.standby
    reasons = {f"{d.name}: {why}" for d in state.devices if (why := _why_lower(state, d))}
    return "; ".join(sorted(reasons)) or "every device is on the wanted level"
