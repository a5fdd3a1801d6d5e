# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots: how the last one ended, whom that blames, and the intent that tells the next one.

Everything is counted in boots, because a router's wall clock says nothing.
"""

from __future__ import annotations

from flowguard.core.events import BootSeen, Command, LedgerFailed, Notify, Save, Severity
from flowguard.core.ladder import eye
from flowguard.core.ladder.verdicts import affected, convict
from flowguard.core.model import Attribution, Fault, Level
from flowguard.core.records import replace
from flowguard.core.state import LEDGER_RETRY, Ledger, State

UNEXPLAINED = "unexplained-reboot"

Step = tuple[State, list[Command]]


def on_boot(state: State, event: BootSeen) -> Step:
    """Count the boot and judge how the one before it ended."""
    former = state.boots
    settings = state.settings
    early = former.early + 1 if event.time < settings.boot_settle else 0
    record = replace(
        former,
        count=event.boot_count,
        early=early,
        looping=early >= settings.boot_loop,
        unknown=tuple(n for n in former.unknown if n > event.boot_count - settings.blame_boots),
        unplanned=event.unplanned,
        evidence="",
        kernel=event.kernel,
        flowguard=event.flowguard,
        judged=event.judged,
    )
    now_present = state.devices
    state = replace(state, boots=record, devices=event.devices, looking=False)
    told: list[Command] = []
    if looked := eye.crashed_the_boot(event):
        state, told = eye.shut(state, former.kernel or event.kernel, looked)
    if changed := _changed(state, former.kernel, former.flowguard):
        state, commands = _forgive(state, changed)
    else:
        state, commands = _blame(state, event) if event.unplanned else _acquit(state, event)
    if state.boots.looping:
        message = (
            f"{early} boots in a row ended within {settings.boot_settle:g} s:"
            " nothing is offloaded in this boot"
        )
        commands.append(Notify(Severity.ERROR, message))
    state = replace(state, devices=now_present)
    return state, [Save(), *(c for c in told + commands if not isinstance(c, Save))]


def _changed(state: State, kernel: str, flowguard: str) -> str:
    """Which program is another than in the boot before, in words."""
    now = state.boots
    changes = (("kernel", kernel, now.kernel), ("flowguard", flowguard, now.flowguard))
    return ", ".join(f"{what} {old} -> {new}" for what, old, new in changes if old and old != new)


def _forgive(state: State, changed: str) -> Step:
    """What the code before did is no blame for the code of today."""
    count = len(state.verdicts)
    record = replace(state.boots, unknown=(), evidence=f"not judged: {changed}")
    state = replace(state, boots=record, verdicts=())
    message = f"{changed}: verdicts ({count}) and unexplained reboots are forgotten"
    return state, [Notify(Severity.INFO, message)]


def _acquit(state: State, event: BootSeen) -> Step:
    """Hardware was not in use: a trace is shown, and nobody is blamed for it."""
    trace = _trace(event)
    if not trace:
        return state, []
    message = f"the boot before ended with hardware not in use, and this trace: {trace}"
    return _because(state, trace), [Notify(Severity.WARNING, message)]


def _blame(state: State, event: BootSeen) -> Step:
    """Convict whom a trace names; without any trace, suspect what was on hardware."""
    commands: list[Command] = []
    for fault in event.faults:
        accused = fault.attribution in (Attribution.OFFLOAD, Attribution.DRIVER)
        if accused and not fault.by_look:
            state, more = _convict_by(state, fault)
            commands += more
    if commands:
        return state, commands
    if looked := eye.crashed_the_boot(event):
        return _because(state, f"a look at the engine's table: {looked}"), []
    # A weak fault in the trace neither convicts nor clears.
    if event.crash and not any(f.attribution is Attribution.WEAK for f in event.faults):
        message = f"the unplanned reboot is not blamed on offloading: {event.crash}"
        return _because(state, event.crash), [Notify(Severity.WARNING, message)]
    return _suspect(state, event)


def _convict_by(state: State, fault: Fault) -> Step:
    commands: list[Command] = []
    for device in affected(state, fault):
        if not _struck(state, device.name):
            reason = f"reboot after {fault.attribution} fault {fault.rule}"
            state, more = convict(
                state, device.name, Level.SOFTWARE, reason, fault.rule, fault.line
            )
            text = f"{fault.attribution} fault {fault.rule}: {fault.line}"
            state = _because(state, text)
            commands += more
    return state, commands


def _struck(state: State, name: str) -> bool:
    """Several traces of one crash are one strike."""
    verdict = state.verdict_on(name)
    return verdict is not None and verdict.stepped == state.time


def _trace(event: BootSeen) -> str:
    return event.crash or next((fault.line for fault in event.faults), "")


def _because(state: State, evidence: str) -> State:
    """The first thing that explains the reboot stays."""
    evidence = state.boots.evidence or evidence
    return replace(state, boots=replace(state.boots, evidence=evidence))


def _suspect(state: State, event: BootSeen) -> Step:
    unknown = (*state.boots.unknown, event.boot_count)
    evidence = f"unknown: {_trace(event) or 'no trace was left'}"
    evidence += "; the watchdog ended the boot" if event.watchdog else ""
    state = replace(state, boots=replace(state.boots, unknown=unknown, evidence=evidence))
    if len(unknown) == 1:
        message = (
            "unexplained reboot while offloading in hardware:"
            f" hardware waits for {state.boot_delay:g} s of uptime"
        )
        return state, [Notify(Severity.WARNING, message)]
    commands: list[Command] = []
    reason = f"{len(unknown)} unexplained reboots within {state.settings.blame_boots} boots"
    for device in event.devices:
        state, more = convict(state, device.name, Level.SOFTWARE, reason, UNEXPLAINED, evidence)
        commands += more
    return state, commands


def settle(state: State) -> Step:
    """A boot that lived long enough breaks the row; written once a boot."""
    if not state.boots.early or state.time < state.settings.boot_settle:
        return state, []
    return replace(state, boots=replace(state.boots, early=0)), [Save()]


def arm(state: State) -> Step:
    """The intent, before hardware is used on a device that it does not name yet."""
    in_use = state.in_use
    if {d.name for d in in_use} <= {d.name for d in state.armed}:
        return state, []
    return replace(state, armed=in_use), [Save()]


def disarm(state: State) -> Step:
    """Nothing is left in hardware: what happens from now on is not its fault."""
    if not state.armed or not state.converged or state.in_use or state.parked:
        return state, []
    return replace(state, armed=()), [Save()]


def arm_again(state: State) -> Step:
    """An end that was planned did not come: what is still in hardware is in use again."""
    held = tuple(
        device
        for device in state.devices
        if state.reached_by(device.name) is Level.HARDWARE or device.name in state.parked
    )
    return replace(state, armed=held), [Save()]


def planned_end(state: State) -> Step:
    """What happens from now on was asked for, and this boot counts as one that ended well."""
    boots = replace(state.boots, early=0)
    return replace(state, armed=(), looking=False, boots=boots), [Save()]


def on_ledger_failed(state: State, event: LedgerFailed) -> Step:
    """Without a memory hardware is not used; the medium is tried again now and then."""
    ledger = Ledger(event.error, event.lost or state.ledger.lost, state.time + LEDGER_RETRY)
    # What could not be written down is not promised.
    return replace(state, ledger=ledger, armed=()), []


def retry_ledger(state: State) -> Step:
    """Try to save again, when that is due."""
    at = state.ledger.retry_at
    if at is None or state.time < at:
        return state, []
    ledger = replace(state.ledger, retry_at=state.time + LEDGER_RETRY)
    return replace(state, ledger=ledger), [Save()]
