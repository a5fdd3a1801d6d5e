# SPDX-License-Identifier: GPL-2.0-or-later
"""The event log on tmpfs, from which `flowguard replay` re-takes every decision."""

from __future__ import annotations

import os
from typing import TextIO

from flowguard.core.arms.drops import OBSERVED_MOST
from flowguard.core.events import DrainProgress, Event, FlowsJudged, FlowsSeen
from flowguard.core.replay import encode_event
from flowguard.core.state import State

SIZE_LIMIT = 256 * 1024


class EventRecorder:
    """Appends events to `events.jsonl`; the file before it is kept as `events.jsonl.1`."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory, exist_ok=True)
        self.path = os.path.join(directory, "events.jsonl")
        self._last_drain: tuple[int, int] | None = None
        self._file = self._open()

    def record(self, event: Event, before: State) -> None:
        """Write one event, unless it says nothing new. `before` is the state it meets."""
        if self._says_nothing(event, before):
            return
        if self._file.tell() > SIZE_LIMIT:
            self._rotate(before)
        self._file.write(encode_event(event) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _open(self) -> TextIO:
        if os.path.exists(self.path):
            os.replace(self.path, f"{self.path}.1")
        return open(self.path, "w", encoding="utf-8")

    def _says_nothing(self, event: Event, before: State) -> bool:
        if isinstance(event, DrainProgress):
            counts = (event.flows, event.engine_entries)
            same = self._last_drain == counts
            self._last_drain = counts
            return same and before.drain is not None
        if isinstance(event, FlowsSeen):
            refused_before = before.flows.refused if before.flows else 0
            return bool(refused_before) == bool(event.refused)
        if isinstance(event, FlowsJudged):
            few = max(event.observed, before.observed) <= OBSERVED_MOST
            open_blocks = any(test.process.block.total for test in before.detector.tests)
            thinned = before.draw.observe_share > 1
            return few and not (event.outcomes or event.births or open_blocks or thinned)
        return False

    def _rotate(self, state: State) -> None:
        """A new file starts with what is known, so that it can be replayed on its own."""
        self._file.close()
        self._file = self._open()
        self._file.write(encode_event(state) + "\n")
