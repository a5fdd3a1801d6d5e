# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that stepping down does not cure: the engine or the MAC is dead until a power cycle.

A driver may say so itself, when its reset fails. Or the device has left hardware minutes ago and
its queue is stuck as before. Hardware is not tried again in this boot then, and people are told.
"""

from __future__ import annotations

from flowguard.core.events import Command, PowerCycleNeeded, Save
from flowguard.core.ladder.verdicts import affected, convict, note
from flowguard.core.model import Attribution, Decision, Device, Fault, FaultClass, Level, Verdict
from flowguard.core.records import replace
from flowguard.core.state import POWER_CYCLE, State

# Drivers need up to a minute for resets that do help.
STILL_SECONDS = 120.0

Step = tuple[State, list[Command]]


def on_fault(state: State, fault: Fault) -> Step:
    """To be asked after the fault was judged: the devices that it found dead are marked so."""
    commands: list[Command] = []
    for device in affected(state, fault):
        verdict = state.verdict_on(device.name)
        if not (verdict and verdict.power_cycle) and _is_dead(state, device, verdict, fault):
            state, more = _mark(state, device, fault)
            commands += more
    return state, commands


def _is_dead(state: State, device: Device, verdict: Verdict | None, fault: Fault) -> bool:
    if fault.power_cycle and fault.attribution in (Attribution.DRIVER, Attribution.OFFLOAD):
        return True
    if verdict is None or not _left_hardware(state, verdict):
        return False
    if fault.power_cycle:
        return fault.rule != verdict.rule  # Beside what it stepped down for.
    stuck = fault.fault_class is FaultClass.TX_TIMEOUT and fault.rule == verdict.rule
    still = state.time - verdict.stepped >= STILL_SECONDS
    return stuck and still and state.reached_by(device.name) is not Level.HARDWARE


def _left_hardware(state: State, verdict: Verdict) -> bool:
    """Whether this verdict has taken its device off hardware, in this boot."""
    return state.holds(verdict) and any(
        decision.device == verdict.device
        and decision.before is Level.HARDWARE
        and decision.time >= verdict.stepped
        for decision in state.decisions
    )


def _mark(state: State, device: Device, fault: Fault) -> Step:
    name = device.name
    commands: list[Command] = []
    verdict = state.verdict_on(name)
    if not verdict or not state.holds(verdict):
        reason = f"{fault.attribution} fault {fault.rule}"
        state, commands = convict(state, name, Level.SOFTWARE, reason, fault.rule, fault.line)
    marked = tuple(
        replace(v, power_cycle=True, until_reboot=True) if v.device == name else v
        for v in state.verdicts
    )
    state = replace(state, verdicts=marked)
    level = state.level_of(name)
    decision = Decision(state.time, name, level, level, POWER_CYCLE, fault.line)
    state, noted = note(state, decision)
    return state, [Save(), *commands, *noted, PowerCycleNeeded(name, fault.line)]
