# SPDX-License-Identifier: GPL-2.0-or-later
"""What survives a restart: verdicts and the level set at run time, on flash.

Written only when one of them changes. An unreadable file is kept aside, never deleted.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace

from flowguard.core.model import Level, Verdict
from flowguard.core.serial import from_json, to_json
from flowguard.host.files import replace_file

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Memory:
    """`wanted` was set at run time while `configured` stood in the configuration."""

    format: int
    boot_id: str
    configured: Level
    wanted: Level
    verdicts: tuple[Verdict, ...] = ()


class StateStore:
    """The state file of one directory."""

    def __init__(self, directory: str, boot_id: str) -> None:
        self.path = os.path.join(directory, "state.json")
        self.boot_id = boot_id

    def load(self, now: float, settle: float) -> tuple[Memory | None, str]:
        """What is remembered, in this boot's time, and a problem in words ("" when fine)."""
        try:
            with open(self.path, encoding="utf-8") as file:
                memory = from_json(Memory, json.load(file))
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return None, f"{self.path}: {error.strerror}; starting without a memory"
        except ValueError as error:
            return None, self._keep_aside(str(error))
        if memory.format != FORMAT:
            return None, self._keep_aside(f"format {memory.format}, expected {FORMAT}")
        return (memory if memory.boot_id == self.boot_id else _reborn(memory, now, settle)), ""

    def save(self, configured: Level, wanted: Level, verdicts: tuple[Verdict, ...]) -> None:
        """Write atomically and durably; OSError when the medium refuses."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        memory = Memory(FORMAT, self.boot_id, configured, wanted, verdicts)
        replace_file(self.path, json.dumps(to_json(memory), indent=1) + "\n", durable=True)

    def _keep_aside(self, problem: str) -> str:
        aside = f"{self.path}.unreadable"
        try:
            os.replace(self.path, aside)
        except OSError as error:
            return f"{self.path}: {problem}; could not be kept aside: {error.strerror}"
        return f"{self.path}: {problem}; kept as {aside}, starting without a memory"


def _reborn(memory: Memory, now: float, settle: float) -> Memory:
    """A hold-off starts anew after a reboot: the old monotonic clock is gone."""
    verdicts = tuple(
        replace(v, stepped=now - settle, held_until=now + v.hold, until_reboot=False)
        for v in memory.verdicts
    )
    return replace(memory, verdicts=verdicts, wanted=memory.configured)
