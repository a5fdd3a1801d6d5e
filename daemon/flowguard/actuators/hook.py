# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's own script, run when a device changes its level, when the kernel reports a fault,
and when only a power cycle helps.

What it is told is described in the script that is installed (config/flowguard.user).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from flowguard.core.model import Decision, Fault
from flowguard.kernel.machine import Files, Programs
from flowguard.platform.log import carried

log = logging.getLogger(__name__)

PATH = "/etc/flowguard.user"
LIMIT_SECONDS = 10.0
WAITING_LIMIT = 64
FAULTS_WAITING_LIMIT = 8
"""Faults come in storms; changes of level must still get through."""
OUTPUT_LIMIT = 4096
"""Bytes of a script's output that are logged."""
_CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


class Hook:
    """Runs the script, one call at a time, in the order in which things happened.

    A call that takes longer than `limit` seconds is killed, with all it started.
    """

    name = "hook"
    patience: float | None = None

    def __init__(
        self, files: Files, programs: Programs, path: str = PATH, limit: float = LIMIT_SECONDS
    ) -> None:
        self._files = files
        self._programs = programs
        self._path = path
        self._limit = limit
        self._waiting: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._left_out = 0

    def moved(self, decision: Decision) -> None:
        """ACTION=level."""
        self._add(
            WAITING_LIMIT,
            ACTION="level",
            DEVICE=decision.device,
            FROM=decision.before,
            TO=decision.after,
            REASON=decision.reason,
            EVIDENCE=decision.evidence,
        )

    def fault_seen(self, fault: Fault) -> None:
        """ACTION=fault."""
        self._add(
            FAULTS_WAITING_LIMIT,
            ACTION="fault",
            RULE=fault.rule,
            ATTRIBUTION=fault.attribution,
            DEVICE=fault.device or "",
            DRIVER=fault.driver or "",
            LINE=fault.line,
        )

    def power_cycle_needed(self, device: str, evidence: str) -> None:
        """ACTION=power_cycle."""
        self._add(WAITING_LIMIT, ACTION="power_cycle", DEVICE=device, EVIDENCE=evidence)

    async def run(self, alive: Callable[[], None]) -> None:
        """Until cancelled, which kills a call under way."""
        alive()
        while True:
            environment = await self._waiting.get()
            try:
                await self._call(environment)
            except OSError as error:
                log.error("%s cannot be run: %s", self._path, error)
            if self._left_out and self._waiting.empty():
                log.warning("%s: %d calls were left out", self._path, self._left_out)
                self._left_out = 0

    def _add(self, limit: int, **told: str) -> None:
        if not self._files.exists(self._path):
            return
        if self._waiting.qsize() >= limit:
            self._left_out += 1
            return
        self._waiting.put_nowait({name: carried(value) for name, value in told.items()})

    async def _call(self, told: dict[str, str]) -> None:
        ended = await self._programs.run(
            ("/bin/sh", self._path), _CLEAN | told, seconds=self._limit, most=OUTPUT_LIMIT
        )
        if ended.status is None:
            log.warning("%s ran for more than %g s and is killed", self._path, self._limit)
        self._log(ended.output, ended.status)

    def _log(self, output: bytes, status: int | None) -> None:
        for line in output.decode(errors="replace").splitlines():
            log.info("%s: %s", self._path, line)
        if status is not None and status > 0:
            log.warning("%s ended with status %d", self._path, status)
