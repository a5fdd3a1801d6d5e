# SPDX-License-Identifier: GPL-2.0-or-later
"""The event log on tmpfs, from which `flowguard replay` re-takes every decision."""

from __future__ import annotations

import os

from flowguard.core.arms.drops import OBSERVED_MOST
from flowguard.core.events import DrainProgress, Event, FlowsJudged, FlowsSeen
from flowguard.core.replay import encode_event
from flowguard.core.state import State
from flowguard.core.tables.places import levels_by_device
from flowguard.kernel.machine import Files

EVENT_LOG = "events.jsonl"
SIZE_LIMIT = 256 * 1024


class EventRecorder:
    """Appends events to `events.jsonl`; the file before it is kept as `events.jsonl.1`."""

    def __init__(self, files: Files, directory: str) -> None:
        self.path = os.path.join(directory, EVENT_LOG)
        self._files = files
        self._size: int | None = None  # None: the file is not ours yet, or has a gap.
        self._begun = False

    def record(self, event: Event, before: State, *, led_to_something: bool = False) -> None:
        """Write one event, unless it says nothing new. `before` is the state it meets.

        Raises OSError. What is recorded after that begins with the state, because a log with
        a gap could not be replayed.
        """
        if not led_to_something and _says_nothing(event, before):
            return
        try:
            if self._size is None or self._size > SIZE_LIMIT:
                self._rotate(before)
            self._size = self._files.append(self.path, encode_event(event) + "\n")
        except OSError:
            self._size = None
            raise

    def _rotate(self, state: State) -> None:
        """A new file starts with what is known, so that it can be replayed on its own."""
        if self._files.exists(self.path):
            self._files.rename(self.path, f"{self.path}.1")
        begun, self._begun = self._begun, True
        if begun:
            self._files.append(self.path, encode_event(state) + "\n")


def _says_nothing(event: Event, before: State) -> bool:
    """Whether the state would be the same without it, as far as decisions go."""
    if isinstance(event, DrainProgress):
        drain = before.drain
        same = drain and (drain.flows, drain.engine_entries) == (event.flows, event.engine_entries)
        if not same or event.held is None:
            return bool(same)
        return levels_by_device(before.devices, event.held) == before.reached
    if isinstance(event, FlowsSeen):
        refused_before = before.flows.refused if before.flows else 0
        return bool(refused_before) == bool(event.refused)
    if isinstance(event, FlowsJudged):
        few = max(event.observed, before.observed) <= OBSERVED_MOST
        open_blocks = any(test.process.block.total for test in before.detector.tests)
        thinned = before.draw.observe_share > 1
        return few and not (event.outcomes or event.births or open_blocks or thinned)
    return False
