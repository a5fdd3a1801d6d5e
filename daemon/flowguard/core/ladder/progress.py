# SPDX-License-Identifier: GPL-2.0-or-later
"""On the way to the wanted tables: drains, refusals, and tables that others took away."""

from __future__ import annotations

from flowguard.core.events import (
    Command,
    Converged,
    ConvergeFailed,
    DrainProgress,
    Moved,
    Notify,
    Severity,
    TablesLost,
)
from flowguard.core.ladder import canary, verdicts
from flowguard.core.model import Decision, Level
from flowguard.core.records import replace
from flowguard.core.state import Drain, Failure, State
from flowguard.core.tables.places import levels_by_device

RETRY_FIRST = 5.0
RETRY_LIMIT = 300.0
# What has to leave its level is not kept there by a kernel that refuses for a moment.
RETRY_DOWN = 2.0
# Hardware that could not be drained is tried again so much later.
PARKED_RETRY = 601.0

Step = tuple[State, list[Command]]


def on_drain_progress(state: State, event: DrainProgress) -> Step:
    drain = state.drain or Drain(since=event.time)
    drain = replace(
        drain,
        flows=event.flows,
        engine_entries=event.engine_entries,
        tuples=event.tuples,
    )
    # A drain begins when the rules are gone: hardware takes no new flow any more, on any device.
    held = event.held
    if held is None:
        held = tuple(
            (name, min(level, state.level_of(name), Level.SOFTWARE, key=lambda x: x.rank))
            for name, level in state.reached
        )
    return _reach(replace(state, drain=drain), held, "hardware is being drained")


def on_converged(state: State, event: Converged) -> Step:
    commands: list[Command] = []
    if event.parked and event.parked != state.parked:
        message = (
            f"{', '.join(event.parked)} could not be drained: the driver stays bound,"
            " and takes no new flow"
        )
        commands.append(Notify(Severity.ERROR, message))
    elif state.drain:
        seconds = state.time - state.drain.since
        commands.append(Notify(Severity.INFO, f"hardware drained in {seconds:.1f} s"))
    retry_at = state.time + PARKED_RETRY if event.parked else None
    state = replace(
        state,
        converged=True,
        drain=None,
        failure=None,
        parked=event.parked,
        parked_retry=retry_at,
    )
    state, moved = _reach(state, state.levels if event.held is None else event.held)
    return state, commands + moved


def _reach(state: State, held: tuple[tuple[str, Level], ...], otherwise: str = "found so") -> Step:
    """Take over what the kernel was seen to hold, and tell what is other than before.

    `otherwise` is why, where no decision led there.
    """
    held = levels_by_device(state.devices, held)
    former, state = state, replace(state, reached=held)
    commands: list[Command] = []
    for name in dict.fromkeys((*dict(former.reached), *dict(held))):
        before, now = former.reached_by(name), state.reached_by(name)
        if now is not before:
            state, decision = _decision(state, name, before, now, otherwise)
            commands.append(Moved(decision))
    return state, commands


def _decision(
    state: State, name: str, before: Level, now: Level, otherwise: str
) -> tuple[State, Decision]:
    """What led there: the latest decision on the device, which is marked as reached."""
    moves = (d for d in reversed(state.decisions) if d.device == name and d.before is not d.after)
    latest = next(moves, None)
    if latest is None or latest.after is not now:
        return state, Decision(state.time, name, before, now, otherwise, reached=state.time)
    reached = replace(latest, reached=state.time)
    decisions = tuple(reached if d is latest else d for d in state.decisions)
    return replace(state, decisions=decisions), replace(reached, before=before)


def on_converge_failed(state: State, event: ConvergeFailed) -> Step:
    # With the drain end the hold-offs that waited for it, before a refusal begins another.
    state, expired = canary.expire(replace(state, converged=False, drain=None))
    if event.held is not None:
        state, moved = _reach(state, event.held)
        expired += moved
    # Where nothing is moved by evidence, a verdict would not bring another try.
    moves = not state.settings.detect_only
    if event.device and moves and state.level_of(event.device) is not Level.NONE:
        state, refused = verdicts.on_refusal(state, event.device, event.error)
        return state, expired + refused
    attempts = state.failure.attempts + 1 if state.failure else 1
    wait = min(RETRY_FIRST * 2 ** min(attempts - 1, 16), RETRY_LIMIT)
    if _is_too_high(state):
        wait = RETRY_DOWN
    repeated = state.failure is not None and state.failure.error == event.error
    failure = Failure(event.error, attempts, state.time + wait)
    message = f"the kernel refused the flowtables: {event.error}; next try in {wait:g} s"
    commands: list[Command] = [] if repeated else [Notify(Severity.ERROR, message)]
    return replace(state, failure=failure), expired + commands


def _is_too_high(state: State) -> bool:
    return any(level.rank > state.level_of(name).rank for name, level in state.reached)


def on_tables_lost(state: State, event: TablesLost) -> Step:
    """They are built anew at once, whatever was refused before."""
    state, moved = _reach(state, state.reached if event.held is None else event.held)
    state, commands = _rebuild(state)
    if state.failure:
        state = replace(state, failure=replace(state.failure, retry_at=None))
    return state, commands + moved


def _rebuild(state: State) -> Step:
    settings = state.settings
    recent = tuple(t for t in state.rebuilds if t > state.time - settings.rebuild_window)
    if len(recent) < settings.rebuild_count:
        message = "another program removed our tables: rebuilding them"
        state = replace(state, rebuilds=(*recent, state.time), converged=False)
        return state, [Notify(Severity.WARNING, message)]
    message = (
        f"our tables were removed {len(recent) + 1} times within"
        f" {settings.rebuild_window:g} s: leaving them alone for {settings.hold_off:g} s"
    )
    state = replace(
        state,
        rebuilds=(),
        converged=False,
        rebuild_held_until=state.time + settings.hold_off,
    )
    return state, [Notify(Severity.ERROR, message)]


def overdue(state: State) -> Step:
    """Tell people, once, of a drain that does not end."""
    drain = state.drain
    if drain and not drain.overdue and state.time >= drain.since + state.settings.drain_limit:
        left = (
            "what is left cannot be seen"
            if drain.flows is None
            else f"{drain.flows} flows and {drain.engine_entries} engine entries left:"
            f" {'; '.join(drain.tuples)}"
        )
        message = f"the drain has not ended after {state.time - drain.since:.0f} s: {left}"
        state = replace(state, drain=replace(drain, overdue=True))
        return state, [Notify(Severity.ERROR, message)]
    return state, []


def retry_is_due(state: State) -> bool:
    if state.parked_retry is not None and state.time >= state.parked_retry:
        return True
    failure = state.failure
    return failure is not None and failure.retry_at is not None and state.time >= failure.retry_at
