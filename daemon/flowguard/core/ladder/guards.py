# SPDX-License-Identifier: GPL-2.0-or-later
"""The eyes that guard hardware: while one of them is blind for long, hardware is not used."""

from __future__ import annotations

from flowguard.core.events import SensorBack, SensorLost
from flowguard.core.records import replace
from flowguard.core.state import GUARDS, Blind, State


def on_lost(state: State, event: SensorLost) -> State:
    """Any other sensor is missed, but nobody is harmed without it."""
    if event.sensor not in GUARDS:
        return state
    state = _without_those_over(state)
    known = next((b for b in state.blind if b.sensor == event.sensor), None)
    # One that sees for a moment and is lost again has been blind all the time.
    since = known.since if known else state.time
    others = tuple(b for b in state.blind if b is not known)
    return replace(state, blind=(*others, Blind(event.sensor, since, event.error)))


def on_back(state: State, event: SensorBack) -> State:
    blind = tuple(
        replace(b, back=state.time) if b.sensor == event.sensor and b.back is None else b
        for b in state.blind
    )
    return _without_those_over(replace(state, blind=blind))


def _without_those_over(state: State) -> State:
    grace = state.settings.blind_grace
    return replace(state, blind=tuple(b for b in state.blind if not b.is_over(state.time, grace)))
