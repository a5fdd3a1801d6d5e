# SPDX-License-Identifier: GPL-2.0-or-later
"""What a restart of the daemon goes on from, kept on tmpfs: it means nothing in another boot.

That is the arms' evidence (a fault of one flow in twenty takes hours to prove where there is
little traffic), the bytes by path, and where hosts are.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Generic, TypeVar

from flowguard.core.serial import from_json, to_json
from flowguard.kernel.machine import Files

SAVE_SECONDS = 60.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class KeptRecord(Generic[T]):
    """One record in the file `name` of the runtime directory; `what` it is, for people."""

    def __init__(self, files: Files, directory: str, name: str, kind: type[T], what: str) -> None:
        self._files = files
        self._path = os.path.join(directory, name)
        self._kind = kind
        self._what = what
        self._saved: T | None = None
        self._due = 0.0

    def load(self) -> T | None:
        """What the daemon before has left; None, and a word in the log, if it is unreadable."""
        try:
            return from_json(self._kind, json.loads(self._files.read(self._path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s: %s; %s begin anew", self._path, error, self._what)
            return None

    def save(self, record: T, time: float, *, now: bool = False) -> None:
        """Write it down if there is news, at most every SAVE_SECONDS or `now`."""
        if not (now or time >= self._due) or record == self._saved:
            return
        self._due = time + SAVE_SECONDS
        try:
            self._files.replace(self._path, json.dumps(to_json(record)))
        except OSError as error:
            log.warning("%s cannot be kept: %s: %s", self._what, self._path, error)
        else:
            self._saved = record
