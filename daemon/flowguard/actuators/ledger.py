# SPDX-License-Identifier: GPL-2.0-or-later
"""The intent ledger: what the daemon remembers, and what the end of the last boot tells."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from flowguard import __version__
from flowguard.actuators.state_file import FORMAT, Memory, StateStore
from flowguard.core.arms.detector import Evidence
from flowguard.core.events import BootSeen, Event, LedgerFailed, Started
from flowguard.core.faults import FaultRules
from flowguard.core.model import Boots, Intent, Level
from flowguard.core.records import replace
from flowguard.core.state import State
from flowguard.kernel import pstore
from flowguard.kernel.clock import monotonic
from flowguard.platform.configuration.loading import Configuration
from flowguard.platform.openwrt.installation import installation
from flowguard.sensors import last_boot

log = logging.getLogger(__name__)


class IntentLedger:
    """Reads the state file once and writes it whenever the policy says `Save`.

    `health` and `sources` are for the status: whether the state can be kept, and what
    became of each place where a crash may leave its trace.
    """

    def __init__(
        self, store: StateStore, rules: FaultRules, places: last_boot.Places = last_boot.EVERYWHERE
    ) -> None:
        self.health = "ok"
        self.sources: tuple[tuple[str, str], ...] = ()
        self._store = store
        self._rules = rules
        self._places = places
        self._kernel = os.uname().release

    def begin(
        self, configuration: Configuration, evidence: Evidence | None = None
    ) -> Iterator[Event]:
        """The events that a start of the daemon begins with; `evidence` if it is of this boot."""
        now = monotonic()
        remembered = self._store.load(now, configuration.policy_settings.settle)
        memory = self._own(remembered.memory)
        if remembered.problem:
            self.health = remembered.problem
            log.error("%s", remembered.problem)
        same_boot = memory is not None and memory.boot_id == self._store.boot_id
        wanted = configuration.wanted
        if memory and memory.configured is wanted:
            wanted = memory.wanted
        yield Started(
            now,
            wanted,
            configuration.policy_settings,
            memory.verdicts if memory else (),
            memory.boots if memory else Boots(),
            memory.intent.devices if memory and memory.intent and same_boot else (),
            memory.held_until if memory else 0,
            memory.suspended if memory else False,
            evidence if same_boot else None,
        )
        if not same_boot:
            yield self._boot_seen(now, memory)
        if remembered.lost:
            yield LedgerFailed(now, remembered.problem, lost=True)

    def _own(self, memory: Memory | None) -> Memory | None:
        """A restored backup tells nothing of how the last boot ended here."""
        if memory is None or memory.installation == self._installation():
            return memory
        log.info("what is remembered comes from a backup: the last boot is not judged by it")
        return replace(memory, intent=None, boots=replace(memory.boots, early=0))

    def _installation(self) -> str:
        return installation(os.path.dirname(self._store.path), self._store.boot_id)

    def _boot_seen(self, now: float, memory: Memory | None) -> BootSeen:
        boots = memory.boots if memory else Boots()
        intent = memory.intent if memory else None
        seen = last_boot.look(self._rules, boots.judged, self._places)
        self.sources = seen.sources
        return BootSeen(
            now,
            boots.count + 1,
            intent is not None,
            seen.faults,
            intent.devices if intent else (),
            self._kernel,
            __version__,
            seen.crash,
            seen.judged,
            seen.watchdog,
        )

    def clear_dumps(self) -> None:
        """Delete the crash dumps that were judged, once that is written down."""
        if self.health == "ok":
            for problem in pstore.clear(self._places.dumps):
                log.warning("a crash dump stays: %s", problem)

    def save(self, configured: Level, state: State) -> str:
        """Write down what must survive; what went wrong in words, or ""."""
        intent = None
        if state.armed:
            count = state.boots.count
            identity = (self._store.boot_id, count, Level.HARDWARE)
            intent = Intent(*identity, state.armed, self._kernel, __version__)
        memory = Memory(
            FORMAT,
            self._store.boot_id,
            configured,
            state.wanted,
            state.verdicts,
            monotonic(),
            state.boots,
            intent,
            state.held_until,
            state.suspended,
            self._installation(),
        )
        try:
            self._store.save(memory)
        except OSError as error:
            self.health = f"{self._store.path}: {error.strerror or error}"
            log.error("the state cannot be saved: %s", self.health)
            return self.health
        self.health = "ok"
        return ""
