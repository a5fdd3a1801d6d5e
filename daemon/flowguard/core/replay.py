# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded events -> the decisions of the policy.

The daemon's event log, tests, simulations and post-mortems all take this path.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from flowguard.core.events import Decided, Event
from flowguard.core.model import Decision
from flowguard.core.policy import decide
from flowguard.core.serial import from_json, to_json
from flowguard.core.state import State

EVENT_TYPES: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


# A log that goes on from another one begins with the state that was reached there.
Line = Event | State
_LINE_TYPES: dict[str, type[Line]] = {**EVENT_TYPES, State.__name__: State}


def encode_event(line: Line) -> str:
    return json.dumps({"event": type(line).__name__, **to_json(line)})


def decode_event(line: str) -> Line:
    """One line of an event log; ValueError names what is wrong with it."""
    record = json.loads(line)
    if not isinstance(record, dict) or record.get("event") not in _LINE_TYPES:
        raise ValueError(f"not an event; expected one of {', '.join(EVENT_TYPES)}")
    kind = _LINE_TYPES[record.pop("event")]
    return from_json(kind, record)


def decision_to_json(decision: Decision) -> dict[str, Any]:
    """A decision under the names of the status: time, device, from, to, reason, evidence."""
    record = to_json(decision)
    assert isinstance(record, dict)
    return {_STATUS_NAMES.get(str(key), str(key)): value for key, value in record.items()}


_STATUS_NAMES = {"before": "from", "after": "to"}


def replay(events: Iterable[Line]) -> Iterator[Decision]:
    """The decisions that the policy takes on these events."""
    state = State()
    for event in events:
        if isinstance(event, State):
            state = event
            continue
        state, commands = decide(state, event)
        for command in commands:
            if isinstance(command, Decided):
                yield command.decision
