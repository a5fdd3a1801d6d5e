# SPDX-License-Identifier: GPL-2.0-or-later
"""The intent ledger: what the daemon remembers, and what the end of the last boot tells."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from flowguard import __version__
from flowguard.actuators.state_file import FORMAT, Memory, StateStore
from flowguard.core.arms.detector import Evidence
from flowguard.core.arms.draw import first_seed
from flowguard.core.events import BootSeen, Event, LedgerFailed, LedgerKept, Started
from flowguard.core.model import Boots, Intent, Level
from flowguard.core.records import replace
from flowguard.core.state import State
from flowguard.kernel.machine import Machine
from flowguard.platform.configuration.loading import Configuration
from flowguard.platform.openwrt.installation import installation
from flowguard.sensors.last_boot import CrashEvidence

log = logging.getLogger(__name__)

Levels = tuple[tuple[str, Level], ...]
LookBack = Callable[[tuple[str, ...]], Awaitable[CrashEvidence]]
"""Finds out how the boot before ended, but for the traces that were judged already."""


class IntentLedger:
    """Reads the state file once and writes it whenever the policy says `Save`.

    Flash is slow, so it is written beside the loop: always the newest, one at a time. `feed`
    hears when that fails, and when it works again. `health` and `sources` are for the status:
    whether the state can be kept, and what became of each place where a crash may leave its
    trace.
    """

    def __init__(
        self, machine: Machine, directory: str, look_back: LookBack, feed: Callable[[Event], None]
    ) -> None:
        self.health = "ok"
        self.sources: tuple[tuple[str, str], ...] = ()
        self._machine = machine
        self._now = machine.clock.now
        self._look_back = look_back
        self._feed = feed
        self._store = StateStore(machine.files, directory, machine.clock.boot_id)
        self._installation = ""
        self._failed = False
        self._begun = False
        self._newest: Memory | None = None
        self._writing: asyncio.Task[None] | None = None

    async def begin(
        self,
        configuration: Configuration,
        evidence: Evidence | None = None,
        held: Levels = (),
        seed: int | None = None,
    ) -> list[Event]:
        """The events that a start of the daemon begins with; `evidence` if it is of this boot.

        `held` are the levels that the kernel was seen to hold, `seed` what it draws the arms by.
        """
        now = self._now()
        remembered = self._store.load(now, configuration.policy_settings.settle)
        folder = os.path.dirname(self._store.path)
        self._installation = await installation(self._machine.files, folder, self._store.boot_id)
        memory = self._own(remembered.memory)
        if remembered.problem:
            self.health = remembered.problem
            log.error("%s", remembered.problem)
        same_boot = memory is not None and memory.boot_id == self._store.boot_id
        started = _started(now, configuration, memory, same_boot)
        started = replace(
            started,
            evidence=evidence if same_boot else None,
            held=held,
            seed=first_seed(self._store.boot_id) if seed is None else seed,
        )
        events: list[Event] = [started]
        if not same_boot:
            events.append(await self._boot_seen(now, memory))
        if remembered.lost:
            events.append(LedgerFailed(now, remembered.problem, lost=True))
        self._begun = True
        return events

    def _own(self, memory: Memory | None) -> Memory | None:
        """A restored backup tells nothing of how the last boot ended here."""
        if memory is None or memory.installation == self._installation:
            return memory
        log.info("what is remembered comes from a backup: the last boot is not judged by it")
        return replace(memory, intent=None, looking=False, boots=replace(memory.boots, early=0))

    async def _boot_seen(self, now: float, memory: Memory | None) -> BootSeen:
        boots = memory.boots if memory else Boots()
        intent = memory.intent if memory else None
        seen = await self._look_back(boots.judged)
        self.sources = seen.sources
        return BootSeen(
            now,
            boots.count + 1,
            intent is not None,
            seen.faults,
            intent.devices if intent else (),
            self._machine.release,
            __version__,
            seen.crash,
            seen.judged,
            seen.watchdog,
            memory is not None and memory.looking,
        )

    def clear_dumps(self) -> None:
        """Delete the crash dumps that were judged, once that is written down."""
        if self.health == "ok":
            for problem in self._machine.last_boot.clear_dumps():
                log.warning("a crash dump stays: %s", problem)

    def save(self, configured: Level, state: State) -> None:
        """Have what must survive written down; `kept` waits until it is.

        Before the end of `begin` nobody knows what survived, and it must not be written over.
        """
        if not self._begun:
            return
        intent = None
        if state.armed:
            count = state.boots.count
            identity = (self._store.boot_id, count, Level.HARDWARE)
            intent = Intent(*identity, state.armed, self._machine.release, __version__)
        self._newest = Memory(
            FORMAT,
            self._store.boot_id,
            configured,
            state.wanted,
            state.verdicts,
            self._now(),
            state.boots,
            intent,
            state.held_until,
            state.suspended,
            self._installation,
            state.looking,
            state.shut_eye,
        )
        if self.is_kept:
            self._writing = asyncio.create_task(self._write())

    @property
    def is_kept(self) -> bool:
        """Whether nothing waits to be written."""
        return self._writing is None or self._writing.done()

    async def kept(self) -> None:
        """Return when nothing waits to be written: it is on flash, or `feed` heard why not."""
        if self._writing:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        while memory := self._newest:
            self._newest = None
            try:
                await self._store.save(memory)
            except OSError as error:
                self.health = f"{self._store.path}: {error.strerror or error}"
                log.error("the state cannot be saved: %s", self.health)
                self._failed = True
                self._feed(LedgerFailed(self._now(), self.health))
            else:
                self.health = "ok"
                if self._failed:
                    self._failed = False
                    self._feed(LedgerKept(self._now()))


def _started(
    now: float,
    configuration: Configuration,
    memory: Memory | None,
    same_boot: bool,
) -> Started:
    wanted = configuration.wanted
    if memory and memory.configured is wanted:
        wanted = memory.wanted
    return Started(
        now,
        wanted,
        configuration.policy_settings,
        memory.verdicts if memory else (),
        memory.boots if memory else Boots(),
        memory.intent.devices if memory and memory.intent and same_boot else (),
        memory.held_until if memory else 0,
        memory.suspended if memory else False,
        shut_eye=memory.shut_eye if memory else None,
    )
