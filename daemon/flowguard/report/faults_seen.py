# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel said: at the moments that were frozen, in its log, and in crash dumps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from flowguard.core.faults import FaultRules
from flowguard.kernel.machine import Machine
from flowguard.report.document import Section, fenced, flattened, folded
from flowguard.report.traces import FaultTrace, traces
from flowguard.service.frozen_moments import KEPT, lines_of, path_of

LOG_RECORDS = 5000
LAST_LINES = 25
"""Of a moment without a fault in the log: whatever the kernel said before it."""


async def fault_sections(machine: Machine, rules: FaultRules, directory: str) -> list[Section]:
    """The moments that the daemon has frozen, the newest first, and the kernel's log of now."""
    shown: set[tuple[str, ...]] = set()
    lines = [
        line
        for number in range(1, KEPT + 1)
        for line in _moment(machine, rules, path_of(directory, number), shown)
    ]
    none = "None: no fault, and no unplanned reboot since this boot began."
    moments = Section("Moments of faults", tuple(lines or [none]))
    return [moments, await _log_section(machine, rules, shown)]


async def _log_section(machine: Machine, rules: FaultRules, shown: set[tuple[str, ...]]) -> Section:
    """Faults that are still in the log; `shown` have their place already."""
    title = "Faults in the kernel's log"
    try:
        lines = lines_of(await machine.kernel_log.recent(LOG_RECORDS))
    except OSError as error:
        return Section(title, (f"The kernel's log cannot be read: {error.strerror or error}.",))
    told = list(_unless_shown(traces(rules, lines), shown))
    return Section(title, tuple(told or [f"None in {len(lines)} lines of the kernel."]))


def dumps_section(machine: Machine, rules: FaultRules) -> Section:
    """Crashes of former boots that are in pstore."""
    dumps, state = machine.last_boot.dumps()
    lines = [f"pstore: {state}."]
    for dump in dumps.dumps:
        text = dump.text.splitlines()
        lines += ["", f"{dump.name}{f' ({dump.reason})' if dump.reason else ''}:", ""]
        found = list(_traces(traces(rules, text)))
        lines += found or fenced(text[-LAST_LINES:])
    return Section("Crash dumps", tuple(lines), optional=True)


def _moment(
    machine: Machine, rules: FaultRules, path: str, shown: set[tuple[str, ...]]
) -> Iterator[str]:
    try:
        moment = json.loads(machine.files.read(path))
        cause, at, time = moment["cause"], moment["at"], moment["time"]
        status, log = moment["status"], [str(line) for line in moment["kernel_log"]]
        levels = list(_levels(status))
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{path} cannot be read: {error}"
        return
    yield f"### {cause}"
    yield ""
    yield f"At {at}, {time:.0f} s after boot."
    yield from ("", *levels, "")
    found = traces(rules, log)
    yield from _unless_shown(found, shown) if found else [*fenced(log[-LAST_LINES:]), ""]
    others = {key: value for key, value in status.items() if key in ("flows", "control", "drain")}
    yield from folded("Flows and their comparison then", flattened(others))
    yield ""


def _levels(status: dict[str, Any]) -> Iterator[str]:
    for device in status.get("devices", []):
        why = f": {device['reason']}" if device["reason"] else ""
        yield f"- {device['name']} on {device['level']}, allowed {device['allowed']}{why}"
    flows = status.get("flows", {})
    told = [f"{count} {level}" for level, count in flows.items() if count is not None]
    if told:
        yield f"- flows: {', '.join(told)}"


def _unless_shown(found: Sequence[FaultTrace], shown: set[tuple[str, ...]]) -> Iterator[str]:
    """The traces that are new; of the others only that they are there."""
    for trace in found:
        if trace.lines in shown:
            yield f"{trace.title}: its lines are above."
            yield ""
        else:
            shown.add(trace.lines)
            yield from _traces([trace])


def _traces(found: Sequence[FaultTrace]) -> Iterator[str]:
    for trace in found:
        yield f"{trace.title}:"
        yield ""
        yield from fenced(trace.lines)
        yield ""
