# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts the runs of the daemon that ended without being told to, since the last boot."""

from __future__ import annotations

import logging
import os

from flowguard.kernel.machine import Files

WINDOW_SECONDS = 3600.0

log = logging.getLogger(__name__)


class Runs:
    """A file on tmpfs with the times (monotonic, seconds) at which such runs began, one a line."""

    def __init__(self, files: Files, runtime_directory: str) -> None:
        self._files = files
        self._path = os.path.join(runtime_directory, "runs")

    def begin(self, now: float) -> int:
        """Note a run; how many that began within the hour before have died."""
        died = [time for time in self._noted() if 0 <= now - time < WINDOW_SECONDS]
        try:
            self._files.replace(self._path, "".join(f"{time}\n" for time in [*died, now]))
        except OSError as error:
            # A guard that nobody counts is better than none.
            log.warning("%s cannot be written: %s", self._path, error.strerror or error)
        return len(died)

    def end(self) -> None:
        """The run ends as it was told to, and what was before is of no matter any more."""
        self._files.remove(self._path)

    def _noted(self) -> list[float]:
        try:
            return [float(line) for line in self._files.read(self._path).splitlines()]
        except FileNotFoundError:
            return []
        except ValueError:
            return []  # Damaged: nothing is known, and the next one will count anew.
