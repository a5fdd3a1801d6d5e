# SPDX-License-Identifier: GPL-2.0-or-later
"""The state at the moment of a fault, kept on tmpfs for `flowguard report`.

By the time that somebody asks, the kernel's log has been overwritten and the levels are others.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from flowguard.actuators.notify import Telling
from flowguard.core.events import BootSeen, Event, FaultSeen, Started
from flowguard.core.faults import LogRecord, logtext
from flowguard.core.model import Attribution
from flowguard.core.state import State
from flowguard.kernel.kmsg import parse
from flowguard.kernel.machine import Files, Machine
from flowguard.service.tasks import Tasks

KEPT = 5
SIZE_LIMIT = 64 * 1024
"""Bytes of one file; of the kernel's lines those that are left out are the oldest."""
QUIET_SECONDS = 60.0
"""After one moment none is frozen for so long: the first of a burst tells most."""
LINES = 400
DECISIONS = 10
RECEIVER = "frozen moments"
_COUNTS = (Attribution.OFFLOAD, Attribution.DRIVER)


def path_of(directory: str, number: int) -> str:
    """The file of the newest moment (1) or of an older one (up to KEPT)."""
    return os.path.join(directory, f"moment-{number}.json")


def cause_of(event: Event, before: State, after: State) -> str:
    """Why the moment after this event is worth keeping, in words; "" for all others."""
    match event:
        case Started():
            return ""  # It brings verdicts that are remembered.
        case FaultSeen(_, fault) if fault.attribution in _COUNTS:
            return f"{fault.attribution} fault {fault.rule}"
        case BootSeen() if after.boots.unplanned:
            return f"unplanned reboot: {after.boots.evidence or 'nothing tells why'}"
    for verdict in after.verdicts:
        if verdict.stepped == after.time and verdict not in before.verdicts:
            return f"{verdict.device}: {verdict.reason}"
    return ""


class FrozenMoments:
    """Writes `moment-1.json`, the newest, to `moment-5.json` in the runtime directory.

    `look` gives the status. `last_words` are the last lines of a boot that ended unplanned.
    What cannot be written is told as the health of a receiver, as for all who are told.
    """

    def __init__(self, machine: Machine, directory: str, telling: Telling, tasks: Tasks) -> None:
        self.look: Callable[[], dict[str, Any]] = dict
        self.last_words: tuple[str, ...] = ()
        self._machine = machine
        self._directory = directory
        self._telling = telling
        self._tasks = tasks
        self._again = -math.inf
        self._writing = asyncio.Lock()

    def consider(self, event: Event, before: State, after: State) -> None:
        """Have this moment kept if it is worth it, in the background; of a burst the first is."""
        last_words: tuple[str, ...] = ()
        if isinstance(event, BootSeen):
            last_words, self.last_words = self.last_words, ()
        cause, now = cause_of(event, before, after), self._machine.clock.now()
        if cause and now >= self._again:
            self._again = now + QUIET_SECONDS
            self._tasks.spawn(self._freeze(cause, now, last_words))

    async def _freeze(self, cause: str, now: float, last_words: Sequence[str]) -> None:
        status = self.look()
        status["decisions"] = status.get("decisions", [])[-DECISIONS:]
        moment = {
            "cause": cause,
            "time": now,
            "at": self._machine.clock.wall_clock(now),
            "status": status,
        }
        lines = [*last_words, *await self._kernel_log()]
        text = _bounded(moment, lines)
        async with self._writing:
            self._telling.safely(
                RECEIVER, lambda: _push(self._machine.files, self._directory, text)
            )

    async def _kernel_log(self) -> list[str]:
        try:
            records = await self._machine.kernel_log.recent(LINES)
        except OSError as error:
            return [f"the kernel's log cannot be read: {error.strerror or error}"]
        return lines_of(records)


def lines_of(records: Sequence[bytes]) -> list[str]:
    """The kernel's own lines among these records of /dev/kmsg, as dmesg prints them."""
    found = (parse(record) for record in records)
    return [
        logtext.stamped(LogRecord(record.text, record.time))
        for record in found
        if record and record.kernel
    ]


def _bounded(moment: dict[str, Any], lines: list[str]) -> str:
    """As JSON, with as many of the newest lines as there is room for."""
    room = SIZE_LIMIT - len(json.dumps({**moment, "kernel_log": []}))
    if room < 0:
        moment = {**moment, "status": {"reason": "the status is too large to be kept"}}
        room = SIZE_LIMIT - len(json.dumps({**moment, "kernel_log": []}))
    first = len(lines)
    while first and (room := room - len(json.dumps(lines[first - 1])) - 2) > 0:
        first -= 1
    return json.dumps({**moment, "kernel_log": lines[first:]})


def _push(files: Files, directory: str, text: str) -> None:
    """The newest becomes number 1, and the oldest goes. OSError keeps what there was."""
    fresh = os.path.join(directory, "moment-new.json")
    try:
        files.replace(fresh, text)
    except OSError:
        files.remove(fresh)
        raise
    for number in range(KEPT - 1, 0, -1):
        if files.exists(path_of(directory, number)):
            files.rename(path_of(directory, number), path_of(directory, number + 1))
    files.rename(fresh, path_of(directory, 1))
