# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon says of itself, or, where none runs, what it has left behind."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from flowguard.actuators.state_file import STATE_FILE
from flowguard.kernel.machine import Files
from flowguard.report.document import Section, fenced, flattened, folded
from flowguard.service.recorder import EVENT_LOG

APART = ("devices", "left_out", "missing_devices", "decisions", "sensors", "problems", "boot")
"""Parts of the status that have a place of their own in the report."""
EVENTS = 30
LONGEST_EVENT = 500


def service_sections(status: dict[str, Any]) -> list[Section]:
    """The status, part by part."""
    told = (
        f"- level {status['level']}, wanted {status['wanted']}, {status['state']}",
        f"- reason: {status['reason']}",
        *(f"- problem: {problem}" for problem in status["problems"]),
        "",
        *_devices(status),
        *folded(
            "Flows, comparison and the rest",
            flattened({key: value for key, value in status.items() if key not in APART}),
        ),
    )
    sensors = tuple(f"- {name}: {health}" for name, health in status["sensors"].items())
    return [
        Section("Service", told),
        Section("Decisions", tuple(_decisions(status)) or ("None since the daemon's start.",)),
        Section("Boots", tuple(f"- {line}" for line in flattened(status["boot"]))),
        Section("Sensors", sensors),
    ]


def left_behind(files: Files, state_directory: str, why: str) -> list[Section]:
    """Without a daemon: why there is none, and its state file."""
    path = os.path.join(state_directory, STATE_FILE)
    lines = [f"The daemon does not answer: {why}.", ""]
    try:
        state = json.loads(files.read(path))
        lines += folded(path, flattened(state))
    except FileNotFoundError:
        lines.append(f"{path} is not there: nothing is remembered.")
    except (OSError, ValueError, RecursionError) as error:
        lines.append(f"{path} cannot be read: {error}")
    return [Section("Service", tuple(lines))]


def events_section(files: Files, directory: str) -> Section:
    """The end of the event log (`flowguard replay` takes the whole of it)."""
    path = os.path.join(directory, EVENT_LOG)
    try:
        events = files.read(path).splitlines()
    except FileNotFoundError:
        return Section("Events", (f"{path} is not there.",), optional=True)
    except (OSError, ValueError) as error:
        return Section("Events", (f"{path} cannot be read: {error}",), optional=True)
    short = [event for event in events if len(event) <= LONGEST_EVENT][-EVENTS:]
    title = f"The last of {len(events)}, without long ones"
    return Section("Events", tuple(folded(title, map(_event, short))), optional=True)


def _event(line: str) -> str:
    try:
        # Not as JSON, whose escapes hide names.
        return "; ".join(flattened(json.loads(line)))
    except (ValueError, RecursionError):
        return "[a line that is not an event]"


def _devices(status: dict[str, Any]) -> Iterator[str]:
    for device in status["devices"]:
        why = f"; {device['reason']}" if device["reason"] else ""
        others = {k: v for k, v in device.items() if k not in ("name", "driver", "level", "reason")}
        yield f"- {device['name']} ({device['driver'] or 'no driver'}): {device['level']}{why}"
        yield f"  - {', '.join(flattened(others))}"
    yield ""


def _decisions(status: dict[str, Any]) -> Iterator[str]:
    for decision in reversed(status["decisions"]):
        change = f"{decision['from']} -> {decision['to']}"
        yield f"- {decision['at']} {decision['device']}: {change}: {decision['reason']}"
        if decision["evidence"]:
            yield from (f"  {line}" for line in fenced([decision["evidence"]]))
