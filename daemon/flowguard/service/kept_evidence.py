# SPDX-License-Identifier: GPL-2.0-or-later
"""The arms' evidence, kept on tmpfs so that a restart of the daemon does not begin from none.

A fault of one flow in twenty takes hours to prove where there is little traffic.
"""

from __future__ import annotations

import json
import logging
import os

from flowguard.core.arms.detector import Evidence
from flowguard.core.serial import from_json, to_json
from flowguard.core.state import State
from flowguard.kernel.machine import Files

SAVE_SECONDS = 60.0

log = logging.getLogger(__name__)


class EvidenceFile:
    """The file `evidence.json` of the runtime directory; it means nothing in another boot."""

    def __init__(self, files: Files, directory: str) -> None:
        self._files = files
        self._path = os.path.join(directory, "evidence.json")
        self._saved: Evidence | None = None
        self._due = 0.0

    def load(self) -> Evidence | None:
        """What the daemon before had found; None, and a word in the log, if it is unreadable."""
        try:
            return from_json(Evidence, json.loads(self._files.read(self._path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s: %s; the arms' evidence begins anew", self._path, error)
            return None

    def save(self, state: State, *, now: bool = False) -> None:
        """Write it down if there is news, at most every SAVE_SECONDS or `now`."""
        if not (now or state.time >= self._due):
            return
        evidence = state.evidence
        if evidence == self._saved:
            return
        self._due = state.time + SAVE_SECONDS
        try:
            self._files.replace(self._path, json.dumps(to_json(evidence)))
        except OSError as error:
            log.warning("the arms' evidence cannot be kept: %s: %s", self._path, error)
        else:
            self._saved = evidence
