# SPDX-License-Identifier: GPL-2.0-or-later
"""Records survive JSON; what does not fit is refused with its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.events import FaultSeen
from flowguard.core.model import Fault, Level, Verdict
from flowguard.core.replay import decode_event
from flowguard.core.serial import from_json, to_json

times = st.floats(allow_nan=False, allow_infinity=False)


@given(st.builds(Verdict, stepped=times, hold=times, held_until=times, raised=st.none() | times))
def test_a_record_survives_json(verdict: Verdict) -> None:
    assert from_json(Verdict, json.loads(json.dumps(to_json(verdict)))) == verdict


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"highest": "fast"}, "highest: 'fast' is none of hardware, software, none"),
        ({"strikes": "1"}, "strikes: expected int"),
        ({"strikes": True}, "strikes: expected int"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"device": None}, "device: expected str"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], complaint: str) -> None:
    record = to_json(Verdict("wan", Level.SOFTWARE, 1, 2.0, 3.0, 4.0, "why"))
    with pytest.raises(ValueError, match=complaint):
        from_json(Verdict, {**record, **change})


def test_a_missing_key_is_an_error() -> None:
    with pytest.raises(ValueError, match="hold"):
        from_json(Verdict, {"device": "wan"})


@given(st.from_type(Fault).map(lambda f: FaultSeen(1.5, f)))
def test_nested_records_are_built(event: FaultSeen) -> None:
    assert from_json(FaultSeen, to_json(event)) == event


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_anything_else_is_not_an_event(value: object) -> None:
    with pytest.raises(ValueError):
        decode_event(json.dumps(value))
