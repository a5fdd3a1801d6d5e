# SPDX-License-Identifier: GPL-2.0-or-later
"""From a fault to verdicts: which devices it concerns, and what it means at their level."""

from __future__ import annotations

from flowguard.core.events import Command, Decided, EngineSeen, Notify, Save, Severity
from flowguard.core.model import Attribution, Decision, Device, Fault, FaultClass, Level, Verdict
from flowguard.core.records import replace
from flowguard.core.state import DECISIONS_KEPT, State, WeakFault

_IN_THE_KERNEL = {
    FaultClass.KERNEL_OOPS,
    FaultClass.KERNEL_WARNING,
    FaultClass.LOCKUP_OR_STALL,
}
REFUSED = "refused"
# Two could be a race with the kernel's workers; three flows that lie on for long are not.
ENGINE_ORPHANS = 3
ENGINE_HALF_BOUND = 3
ENGINE_SHOWN = 3


def on_fault(state: State, fault: Fault) -> tuple[State, list[Command]]:
    commands: list[Command] = []
    devices = affected(state, fault)
    if fault.attribution is Attribution.WEAK:
        state, devices = _enough_weak(state, devices)
    if fault.attribution is not Attribution.NONE:
        for device in devices:
            state, more = _judge(state, device, fault)
            commands += more
    return state, commands


def on_refusal(state: State, name: str, error: str) -> tuple[State, list[Command]]:
    """The kernel or the driver would not take this device at its level."""
    level = state.level_of(name)
    return convict(state, name, level.below, f"{level} offload was refused", REFUSED, error)


def on_engine(state: State, event: EngineSeen) -> tuple[State, list[Command]]:
    """The engine's table contradicts connection tracking: a fault of its driver.

    Entries name no device, so all that are on hardware are concerned. During a drain
    entries are leaving, and what they look like then says nothing.
    """
    if event.orphan_count >= ENGINE_ORPHANS:
        rule, flows = "engine-orphans", event.orphans
        what = f"{event.orphan_count} flows in the engine without a connection"
    elif event.half_bound_count >= ENGINE_HALF_BOUND:
        rule, flows = "engine-half-bound", event.half_bound
        what = f"{event.half_bound_count} flows that the engine forwards one way only"
    else:
        return state, []
    commands: list[Command] = []
    evidence = "; ".join(flows[:ENGINE_SHOWN])
    for name, level in state.levels:
        if level is Level.HARDWARE and not state.drain and not _is_known(state, name, rule):
            reason = f"{rule}: {what}"
            state, more = convict(state, name, Level.SOFTWARE, reason, rule, evidence)
            commands += more
    return state, commands


def _is_known(state: State, name: str, rule: str) -> bool:
    """Whether this belongs to the incident of the last step, or is what it was held for.

    The second matters where nothing steps down (detect-only): the same entries are there
    at every look.
    """
    verdict = state.verdict_on(name)
    if verdict is None:
        return False
    repeated = verdict.rule == rule and verdict.highest is not Level.HARDWARE
    return repeated or state.time - verdict.stepped < state.settings.settle


def affected(state: State, fault: Fault) -> tuple[Device, ...]:
    """The devices a fault implicates.

    A fault of a device that takes no part is somebody else's, unless the trace itself
    runs through the offload path.
    """
    named = tuple(d for d in state.devices if fault.device in (d.name, *d.lower))
    if fault.device and named:
        return named
    driven = tuple(d for d in state.devices if fault.driver and d.driver == fault.driver)
    if driven:
        return driven
    # Not every driver's messages carry the name that the network device knows it by.
    printed = tuple(d for d in state.devices if d.bus_name and f"{d.bus_name}:" in fault.line)
    if printed:
        return printed
    nobody_named = not fault.device and not fault.driver
    if fault.attribution is Attribution.OFFLOAD or nobody_named:
        return state.devices
    return ()


def _enough_weak(state: State, devices: tuple[Device, ...]) -> tuple[State, tuple[Device, ...]]:
    """Count weak faults; return the devices that have had enough of them."""
    settings = state.settings
    kept = [w for w in state.weak_faults if w.time > state.time - settings.weak_window]
    kept += [WeakFault(state.time, d.name) for d in devices]
    guilty = tuple(
        d for d in devices if sum(w.device == d.name for w in kept) >= settings.weak_count
    )
    names = {d.name for d in guilty}
    kept = [w for w in kept if w.device not in names]
    return replace(state, weak_faults=tuple(kept)), guilty


def _judge(state: State, device: Device, fault: Fault) -> tuple[State, list[Command]]:
    name, level = device.name, state.level_of(device.name)
    verdict = state.verdict_on(name)
    if verdict and state.time - verdict.stepped < state.settings.settle:
        return state, []
    if device in state.in_use:
        return _by_fault(state, name, Level.SOFTWARE, fault)
    held = verdict is not None and state.holds(verdict)
    repeated = held and verdict is not None and verdict.rule == fault.rule
    if level is Level.SOFTWARE and fault.attribution is Attribution.OFFLOAD and not repeated:
        if fault.fault_class in _IN_THE_KERNEL:
            return _by_fault(state, name, Level.NONE, fault)
        if not held:
            return _by_fault(state, name, Level.SOFTWARE, fault)
    return _note(state, name, fault)


def _by_fault(state: State, name: str, highest: Level, fault: Fault) -> tuple[State, list[Command]]:
    reason = f"{fault.attribution} fault {fault.rule}"
    damaged = (
        fault.attribution is Attribution.OFFLOAD and fault.fault_class is FaultClass.KERNEL_OOPS
    )
    return convict(state, name, highest, reason, fault.rule, fault.line, damaged)


def convict(
    state: State,
    name: str,
    highest: Level,
    reason: str,
    rule: str,
    evidence: str,
    damaged: bool = False,
) -> tuple[State, list[Command]]:
    former = state.verdict_on(name)
    strikes = state.strikes_left(former) + 1 if former else 1
    settings = state.settings
    # The exponent is bounded so that years of strikes cannot overflow a float.
    hold = min(settings.hold_off * 2 ** min(strikes - 1, 32), settings.hold_off_limit)
    verdict = Verdict(
        device=name,
        highest=highest,
        strikes=strikes,
        stepped=state.time,
        hold=hold,
        held_until=state.time + hold,
        reason=reason,
        rule=rule,
        evidence=evidence,
        until_reboot=damaged or (former is not None and former.until_reboot),
        power_cycle=former is not None and former.power_cycle,
    )
    if device := next((d for d in state.devices if d.name == name), None):
        verdict = replace(verdict, identity=device.identity, code=device.code)
    others = tuple(v for v in state.verdicts if v.device != name)
    span = "until the next boot" if verdict.until_reboot else f"for {hold:g} s"
    message = f"{name}: {reason}; held at {highest} {span} (strike {strikes})"
    state = replace(state, verdicts=(*others, verdict))
    if settings.detect_only:
        return _would_step(state, verdict)
    return state, [Save(), Notify(Severity.WARNING, message)]


def _would_step(state: State, verdict: Verdict) -> tuple[State, list[Command]]:
    """Only detecting: say what would be done."""
    level = state.level_of(verdict.device)
    reason = f"detect-only: would step down to {verdict.highest}: {verdict.reason}"
    return note(state, Decision(state.time, verdict.device, level, level, reason, verdict.evidence))


def note(state: State, decision: Decision) -> tuple[State, list[Command]]:
    """Put a decision that moves nothing on record."""
    decisions = (*state.decisions, decision)[-DECISIONS_KEPT:]
    return replace(state, decisions=decisions), [Decided(decision)]


def _note(state: State, name: str, fault: Fault) -> tuple[State, list[Command]]:
    """The trouble goes on where hardware is not in use: not its fault, no further step."""
    level = state.level_of(name)
    reason = f"{fault.attribution} fault {fault.rule} while on {level}: no further step"
    if any(d.device == name and d.reason == reason for d in state.decisions):
        return state, []
    return note(state, Decision(state.time, name, level, level, reason, fault.line))
