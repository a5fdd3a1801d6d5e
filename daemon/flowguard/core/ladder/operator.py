# SPDX-License-Identifier: GPL-2.0-or-later
"""What people ask for at run time, and what that changes."""

from __future__ import annotations

from flowguard.core.arms.detector import Mute
from flowguard.core.events import Command, Notify, Save, Severity
from flowguard.core.ladder import boots
from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.requests import (
    EndAbandoned,
    EndAsked,
    ForgetAsked,
    HoldAsked,
    PlannedEnd,
    Request,
    RetryAsked,
    SuspendAsked,
    WantedChanged,
)
from flowguard.core.state import Ledger, State

Step = tuple[State, list[Command]]


def on_request(state: State, request: Request) -> Step:
    match request:
        case WantedChanged():
            return set_wanted(state, request.level)
        case RetryAsked():
            return _retry(state)
        case HoldAsked():
            text = f"hardware is held off for {request.seconds:.0f} s, {request.reason}"
            until = state.time + request.seconds
            if request.at_least:
                until = max(until, state.held_until)
            state = replace(state, held_until=until)
            return state, _say(text if request.seconds else "hardware is held off no longer")
        case SuspendAsked():
            text = "suspended: nothing is offloaded" if request.suspended else "resumed"
            return replace(state, suspended=request.suspended), _say(text)
        case ForgetAsked():
            return _forget(state, request.device)
        case EndAsked():
            return replace(state, leave=request.leave), []
        case EndAbandoned():
            return boots.arm_again(replace(state, leave=None) if request.goes_on else state)
        case PlannedEnd():
            return boots.planned_end(state)


def set_wanted(state: State, wanted: Level) -> Step:
    if wanted is state.wanted:
        return state, []
    message = f"highest level wanted is now {wanted} (was {state.wanted})"
    return replace(state, wanted=wanted), _say(message)


def _retry(state: State) -> Step:
    """Every wait ends; how often a device was convicted stays known."""
    verdicts = tuple(replace(v, held_until=min(v.held_until, state.time)) for v in state.verdicts)
    state = replace(
        state,
        verdicts=verdicts,
        retried=True,
        held_until=0,
        rebuild_held_until=0,
        ledger=Ledger(state.ledger.error, False, state.ledger.retry_at),
    )
    return state, _say("every wait is ended, as somebody asked")


def _forget(state: State, device: str | None) -> Step:
    """A damaged kernel stays damaged, whatever is forgotten."""
    kept = tuple(v for v in state.verdicts if v.until_reboot or device not in (None, v.device))
    state = replace(state, verdicts=kept)
    if device is None:
        record = replace(state.boots, unknown=(), looping=False)
        state = replace(state, boots=record, mute=Mute(), weak_faults=(), shut_eye=None)
    return state, _say(f"verdicts on {device or 'all devices'} are forgotten, as somebody asked")


def _say(message: str) -> list[Command]:
    return [Save(), Notify(Severity.INFO, message)]
