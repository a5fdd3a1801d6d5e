# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy: decide(state, event) -> (state, commands). Pure, so any day can be replayed."""

from __future__ import annotations

from flowguard.core.arms import drops
from flowguard.core.arms.detector import reset
from flowguard.core.arms.draw import next_seed
from flowguard.core.events import (
    BootSeen,
    Command,
    Configured,
    Converge,
    Converged,
    ConvergeFailed,
    CrossoverSeen,
    Decided,
    DevicesChanged,
    DrainProgress,
    EngineSeen,
    Event,
    FaultSeen,
    FlowsJudged,
    FlowsSeen,
    HostsSeen,
    KernelKnown,
    LedgerFailed,
    LedgerKept,
    LookBegun,
    LookEnded,
    Notify,
    Save,
    SensorBack,
    SensorLost,
    Severity,
    StandbyChanged,
    Started,
    TablesLost,
    Tick,
    Try,
)
from flowguard.core.ladder import (
    boots,
    canary,
    eye,
    guards,
    identity,
    operator,
    power_cycle,
    progress,
    verdicts,
)
from flowguard.core.model import Attribution, Decision, Fault, Level
from flowguard.core.records import replace
from flowguard.core.requests import EndAbandoned, PlannedEnd
from flowguard.core.state import DECISIONS_KEPT, Drain, Ledger, State, allowed
from flowguard.core.tables import whereabouts
from flowguard.core.tables.places import levels_by_device

Step = tuple[State, list[Command]]
# Faults that wait for the first look at the devices.
UNJUDGED_MOST = 20


def decide(state: State, event: Event) -> Step:
    """What follows from an event. Time never runs backwards inside the state."""
    before = state
    state = replace(state, time=max(state.time, event.time))
    state, commands = _time_passed(state)
    state, more = _handle(state, event)
    commands += more
    if isinstance(event, PlannedEnd):
        # It changes what is remembered, and nothing else: a step would write the intent anew.
        return state, _saved_once(commands)
    # Whatever ended a hold-off, the device comes back as a canary and not all at once.
    state, more = canary.expire(state)
    commands += more
    again = DevicesChanged | TablesLost | EndAbandoned
    unfinished = isinstance(event, again) and not state.converged
    anew = unfinished or progress.retry_is_due(state)
    anew = anew or state.devices != before.devices
    anew = anew or _draws_otherwise(before, state, event)
    state, asked = _retarget(state, anew)
    if not set(state.untried) <= set(before.untried):
        asked.append(Try())
    state, more = _intend(state, event, asked)
    return state, _saved_once(commands + more + asked)


def _draws_otherwise(before: State, state: State, event: Event) -> bool:
    """Whether the rules want another draw; at the start there are no devices yet to have any."""
    same = state.draw == before.draw
    same = same and state.settings.control_share == before.settings.control_share
    return not same and not isinstance(event, Started)


def _intend(state: State, event: Event, asked: list[Command]) -> Step:
    """Keep the intent true: armed before hardware is used, disarmed once it is left."""
    if asked:
        return boots.arm(state)
    # Both come after the work is done: tables are converged, trials are over.
    if isinstance(event, Converged | DevicesChanged):
        return boots.disarm(state)
    return state, []


def _saved_once(commands: list[Command]) -> list[Command]:
    """One write is enough, and it comes before whatever it must survive."""
    others = [c for c in commands if not isinstance(c, Save)]
    return commands if len(others) == len(commands) else [Save(), *others]


def _handle(state: State, event: Event) -> Step:
    match event:
        case Started():
            return _started(state, event)
        case Configured():
            state = replace(state, settings=event.settings)
            return operator.set_wanted(state, event.wanted)
        case KernelKnown():
            return _kernel_known(state, event)
        case DevicesChanged():
            return _devices_changed(state, event)
        case HostsSeen():
            return whereabouts.on_hosts(state, event)
        case FaultSeen():
            if event.fault.attribution is not Attribution.NONE:
                state = replace(state, disturbed=state.time)
            if not state.devices and state.level is Level.HARDWARE:
                return replace(state, unjudged=(*state.unjudged, event.fault)[-UNJUDGED_MOST:]), []
            return _judged(state, event.fault)
        case BootSeen():
            return boots.on_boot(state, event)
        case LedgerFailed():
            return boots.on_ledger_failed(state, event)
        case LedgerKept():
            return replace(state, ledger=Ledger(lost=state.ledger.lost)), []
        case DrainProgress():
            return progress.on_drain_progress(state, event)
        case Converged():
            return progress.on_converged(state, event)
        case ConvergeFailed():
            return progress.on_converge_failed(state, event)
        case TablesLost():
            return progress.on_tables_lost(state, event)
        case FlowsSeen():
            return _flows_seen(state, event)
        case FlowsJudged():
            state, commands = canary.on_judged(state, event)
            state, more = drops.on_judged(state, event)
            return state, commands + more
        case CrossoverSeen():
            return drops.on_crossover(state, event)
        case EngineSeen():
            return verdicts.on_engine(state, event)
        case LookBegun() | LookEnded():
            return eye.on_look(state, event)
        case StandbyChanged():
            return replace(state, standby=event.reason, disturbed=state.time), []
        case SensorLost():
            return guards.on_lost(state, event), []
        case SensorBack():
            return guards.on_back(state, event), []
        case Tick():
            return state, []
        case _:
            return operator.on_request(state, event)


def _started(state: State, event: Started) -> Step:
    state = replace(
        state,
        wanted=event.wanted,
        settings=event.settings,
        verdicts=event.verdicts,
        boots=event.boots,
        armed=event.armed,
        held_until=event.held_until,
        reached=event.held,
        suspended=event.suspended,
        shut_eye=event.shut_eye,
        draw=replace(state.draw, seed=event.seed),
    )
    if event.evidence:
        found = event.evidence
        state = replace(state, compared=found.levels, detector=found.detector, mute=found.mute)
    return state, []


def _kernel_known(state: State, event: KernelKnown) -> Step:
    state = replace(state, software_drops=event.software_drops)
    if not event.software_drops:
        return state, []
    message = f"{event.software_drops}: what is not in hardware is not offloaded at all"
    return state, [Notify(Severity.ERROR, message)]


def _devices_changed(state: State, event: DevicesChanged) -> Step:
    if state.devices and event.devices != state.devices:
        state = replace(state, disturbed=state.time)
    reached = levels_by_device(event.devices, state.reached)
    state, commands = identity.match(replace(state, devices=event.devices, reached=reached))
    faults, state = state.unjudged, replace(state, unjudged=())
    for fault in faults:
        state, more = _judged(state, fault)
        commands += more
    return state, commands


def _judged(state: State, fault: Fault) -> Step:
    """Whom the fault convicts, and whom nothing can help in this boot."""
    if fault.by_look:
        return eye.on_fault(state, fault)
    state, commands = verdicts.on_fault(state, fault)
    state, more = power_cycle.on_fault(state, fault)
    return state, commands + more


def _flows_seen(state: State, event: FlowsSeen) -> Step:
    first = event.refused and not (state.flows and state.flows.refused)
    message = f"the driver refused {event.refused} flows: they stay in software"
    commands: list[Command] = [Notify(Severity.WARNING, message)] if first else []
    return replace(state, flows=event), commands


def _time_passed(state: State) -> Step:
    """What is due by now, whichever event brought the time."""
    commands: list[Command] = []
    for due in (
        canary.expire,
        drops.overdue,
        boots.settle,
        boots.retry_ledger,
        canary.proceed,
        progress.overdue,
        whereabouts.on_time,
    ):
        state, more = due(state)
        commands += more
    return state, commands


def _retarget(state: State, anew: bool) -> Step:
    """Move every device to the highest level allowed; say why it moved."""
    limits = [(d.name, *allowed(state, d)) for d in state.devices]
    levels = tuple((name, level) for name, level, _ in limits)
    waits = (
        state.failure is not None and state.failure.retry_at and not progress.retry_is_due(state)
    )
    canary_before = state.draw.canary
    state = canary.draw(state, levels)
    anew = anew or state.draw.canary != canary_before
    if levels == state.levels and (waits or not anew):
        return state, []
    decisions = tuple(
        _moved(state, name, level, why)
        for name, level, why in limits
        if level is not state.level_of(name)
    )
    leaves_hardware = any(
        level is Level.HARDWARE and dict(levels).get(name) is not Level.HARDWARE
        for name, level in state.levels
    )
    drain = state.drain or (Drain(since=state.time) if leaves_hardware else None)
    if levels != state.levels:
        state = _compare(state, levels)
    state = replace(
        state,
        epoch=state.epoch + 1,
        levels=levels,
        converged=False,
        drain=drain,
        failure=replace(state.failure, retry_at=None) if state.failure else None,
        parked_retry=None,
        decisions=(*state.decisions, *decisions)[-DECISIONS_KEPT:],
    )
    return state, [*map(Decided, decisions), Converge(levels, state.draw, state.epoch)]


def _compare(state: State, levels: tuple[tuple[str, Level], ...]) -> State:
    """The arms compare other levels now: what was counted says nothing about them.

    Unless it was counted on these same levels, by the daemon before this one. Its draw goes on
    as well: the first levels of a life are what it left, or come from none.
    """
    seed = next_seed(state.draw.seed) if state.levels else state.draw.seed
    return replace(
        state,
        detector=state.detector if levels == state.compared else reset(state.detector),
        draw=replace(state.draw, control_share=None, seed=seed),
        compared=levels,
        compared_since=state.epoch + 1,
    )


def _moved(state: State, name: str, level: Level, why: str) -> Decision:
    before = state.level_of(name)
    verdict = state.verdict_on(name)
    evidence = ""
    if level.rank < before.rank and verdict and state.holds(verdict):
        evidence = verdict.evidence
    elif level.rank > before.rank and verdict and not state.holds(verdict):
        why = f"hold-off of {verdict.hold:g} s is over; {why}"
    return Decision(state.time, name, before, level, why, evidence)
