# SPDX-License-Identifier: GPL-2.0-or-later
"""Verdicts follow the hardware they were passed on, not the name it happens to have."""

from __future__ import annotations

from flowguard.core.events import Command, Notify, Save, Severity
from flowguard.core.model import Device, Verdict
from flowguard.core.records import replace
from flowguard.core.state import State


def match(state: State) -> tuple[State, list[Command]]:
    """Give every verdict to the device that it is about, among those that are there now."""
    commands: list[Command] = []
    kept = []
    for verdict in state.verdicts:
        device = _owner(state.devices, verdict)
        if device and device.code and verdict.code and device.code != verdict.code:
            message = f"{device.name}: {verdict.code} -> {device.code}: its verdict is forgotten"
            commands += [Save(), Notify(Severity.INFO, message)]
            continue
        name = device.name if device else _absent(state.devices, verdict)
        if device and name != verdict.device:
            message = f"{verdict.device} is now {name}: its verdict stays with it"
            commands += [Save(), Notify(Severity.INFO, message)]
        if device:
            verdict = of_device(verdict, device)
        kept.append(replace(verdict, device=name))
    return replace(state, verdicts=tuple(kept)), commands


def of_device(verdict: Verdict, device: Device) -> Verdict:
    """The verdict with what is known of its device."""
    return replace(
        verdict,
        device=device.name,
        identity=device.identity or verdict.identity,
        code=device.code or verdict.code,
    )


def _owner(devices: tuple[Device, ...], verdict: Verdict) -> Device | None:
    if verdict.identity:
        found = next((d for d in devices if d.identity == verdict.identity), None)
        if found:
            return found
    named = next((d for d in devices if d.name == verdict.device), None)
    if named and verdict.identity and named.identity:
        return None  # Other hardware under the same name.
    return named


def _absent(devices: tuple[Device, ...], verdict: Verdict) -> str:
    """Its old name, unless that is another device's now."""
    taken = any(d.name == verdict.device for d in devices)
    return verdict.identity if taken else verdict.device
