# SPDX-License-Identifier: GPL-2.0-or-later
"""What survives a restart and a reboot, on flash: verdicts, the intent, boots, what was set.

Written only when one of them changes. An unreadable file is kept aside, never deleted.
"""

from __future__ import annotations

import json
import os

from flowguard.core.model import Boots, Intent, Level, ShutEye, Verdict
from flowguard.core.records import frozen, replace
from flowguard.core.serial import from_json, to_json
from flowguard.kernel.machine import Files

FORMAT = 1
STATE_FILE = "state.json"
# So many unreadable files are kept; whatever breaks more of them breaks all of them.
KEPT_ASIDE = 5


@frozen
class Memory:
    """`wanted` was set at run time while `configured` stood in the configuration.

    All times are of the clock of the boot `boot_id`, and `time` is when this was saved.
    `installation`: see platform.openwrt.installation. `looking` and `shut_eye`: see core.state.
    """

    format: int
    boot_id: str
    configured: Level
    wanted: Level
    verdicts: tuple[Verdict, ...] = ()
    time: float = 0
    boots: Boots = Boots()
    intent: Intent | None = None
    held_until: float = 0
    suspended: bool = False
    installation: str = ""
    looking: bool = False
    shut_eye: ShutEye | None = None


@frozen
class Remembered:
    """`problem` is "" when all is fine; `lost`: there was a memory that cannot be read."""

    memory: Memory | None
    problem: str = ""
    lost: bool = False


class StateStore:
    """The state file of one directory."""

    def __init__(self, files: Files, directory: str, boot_id: str) -> None:
        self.path = os.path.join(directory, STATE_FILE)
        self.boot_id = boot_id
        self._files = files

    def load(self, now: float, settle: float) -> Remembered:
        """What is remembered, in this boot's time."""
        try:
            memory = self._read()
        except FileNotFoundError:
            return Remembered(None)
        except OSError as error:
            return Remembered(None, f"{self.path}: {error.strerror}; nothing is known", lost=True)
        except (ValueError, RecursionError) as error:
            return Remembered(None, self._keep_aside(str(error)), lost=True)
        if memory.format != FORMAT:
            problem = self._keep_aside(f"format {memory.format}, expected {FORMAT}")
            return Remembered(None, problem, lost=True)
        same = memory.boot_id == self.boot_id
        return Remembered(memory if same else _reborn(memory, now, settle))

    def is_eye_shut(self, kernel: str) -> bool:
        """Whether a look at the engine's table may crash this kernel, as far as is remembered."""
        try:
            memory = self._read()
        except (OSError, ValueError, RecursionError):
            return False
        shut = memory.shut_eye is not None and memory.shut_eye.kernel == kernel
        return shut or memory.looking

    async def save(self, memory: Memory) -> None:
        """Write atomically and durably; OSError when the medium refuses."""
        await self._files.keep(self.path, json.dumps(to_json(memory), indent=1) + "\n")

    async def disarm(self) -> None:
        """Nothing is in hardware any more: what happens now is not its fault.

        For who left hardware without the service. OSError when the medium refuses; a memory
        that cannot be read stays as it is.
        """
        try:
            memory = self._read()
        except (FileNotFoundError, ValueError, RecursionError):
            return
        if memory.boot_id == self.boot_id and memory.intent:
            await self.save(replace(memory, intent=None))

    def _read(self) -> Memory:
        """As it was saved; raises OSError, and ValueError or RecursionError for what is none."""
        return from_json(Memory, json.loads(self._files.read(self.path)))

    def _keep_aside(self, problem: str) -> str:
        first = f"{self.path}.unreadable"
        names = [first, *(f"{first}.{number}" for number in range(2, KEPT_ASIDE + 1))]
        aside = next((name for name in names if not self._files.exists(name)), names[-1])
        try:
            self._files.rename(self.path, aside)
        except OSError as error:
            return f"{self.path}: {problem}; could not be kept aside: {error.strerror}"
        return f"{self.path}: {problem}; kept as {aside}, starting without a memory"


def _reborn(memory: Memory, now: float, settle: float) -> Memory:
    """In the clock of a new boot: a wait has as much left as when it was last saved.

    How long the router was off cannot be known.
    """

    verdicts = tuple(
        replace(
            v,
            stepped=now - settle,
            held_until=now + min(v.hold, max(0.0, v.held_until - memory.time)),
            raised=None,
            healthy=v.healthy_until(memory.time),
            until_reboot=False,
            power_cycle=False,
        )
        for v in memory.verdicts
    )
    rest = memory.held_until - memory.time
    return replace(
        memory,
        verdicts=verdicts,
        wanted=memory.configured,
        held_until=now + rest if rest > 0 else 0,
        suspended=False,
    )
