# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections as a person reads them."""

from __future__ import annotations

from typing import Any

from flowguard.cli.flows import describe


def flow(**changes: Any) -> dict[str, Any]:
    return {
        "flow": "tcp 192.168.1.2:40000 -> 203.0.113.1:443",
        "level": "software",
        "paths": {"original": "software", "reply": "software"},
        "why": "control_arm",
        "because": "in the control arm, for comparison",
        "arm": "control",
        "age": 12.3,
        "bytes": {"original": 4_000, "reply": 3_000_000},
        "stalled_for": None,
        **changes,
    }


def test_a_connection_has_a_line_and_its_reason_another() -> None:
    head, line, why = describe([flow()])
    assert head.split() == ["level", "arm", "age", "sent", "received", "flow"]
    assert line.split()[:6] == ["software", "control", "12", "s", "4", "kB"]
    assert line.endswith("203.0.113.1:443")
    assert why.strip() == "in the control arm, for comparison"


def test_where_there_is_nothing_to_explain_there_is_no_line_for_it() -> None:
    paths = {"original": "hardware", "reply": "hardware"}
    assert len([*describe([flow(level="hardware", paths=paths, why=None, because="")])]) == 2


def test_a_direction_on_another_path_is_named() -> None:
    paths = {"original": "hardware", "reply": "software"}
    _, _, other = describe([flow(level="hardware", paths=paths, why=None, because="")])
    assert other.strip() == "its answers are in software"


def test_a_stalled_one_says_since_when() -> None:
    assert "(stalled for 7 s)" in [*describe([flow(stalled_for=7.2)])][1]
