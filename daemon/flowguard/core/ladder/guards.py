# SPDX-License-Identifier: GPL-2.0-or-later
"""The eyes that guard hardware: while one of them is blind for long, hardware is not used."""

from __future__ import annotations

from flowguard.core.events import SensorBack, SensorLost
from flowguard.core.records import replace
from flowguard.core.state import GUARDS, Blind, State


def on_lost(state: State, event: SensorLost) -> State:
    """Any other sensor is missed, but nobody is harmed without it."""
    if event.sensor not in GUARDS or any(b.sensor == event.sensor for b in state.blind):
        return state
    return replace(state, blind=(*state.blind, Blind(event.sensor, state.time, event.error)))


def on_back(state: State, event: SensorBack) -> State:
    return replace(state, blind=tuple(b for b in state.blind if b.sensor != event.sensor))
