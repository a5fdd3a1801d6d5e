# SPDX-License-Identifier: GPL-2.0-or-later
"""How far the kernel log has been handled in this boot, kept on tmpfs across restarts.

Without it a fault between the death of one daemon and the start of the next is missed.
"""

from __future__ import annotations

import os

from flowguard.kernel.files import replace_file
from flowguard.kernel.kmsg import RECORD_BYTES

KMSG = "/dev/kmsg"


class KmsgPosition:
    """The sequence number of the last handled record, in `kmsg` of the runtime directory."""

    def __init__(self, directory: str, kmsg: str = KMSG) -> None:
        self._path = os.path.join(directory, "kmsg")
        self._kmsg = kmsg
        self._saved: int | None = None

    def load(self) -> int | None:
        """Where to go on; at the first start of this boot, after the newest record."""
        try:
            with open(self._path, encoding="ascii") as file:
                self._saved = int(file.read())
        except (FileNotFoundError, ValueError):
            # What was logged before we ever offloaded anything says nothing about it.
            self.save(newest_sequence(self._kmsg))
        return self._saved

    def save(self, sequence: int | None) -> None:
        """Remember it, if it is news."""
        if sequence is not None and sequence != self._saved:
            replace_file(self._path, str(sequence))
            self._saved = sequence


def newest_sequence(path: str) -> int | None:
    """The sequence number of the newest record; None when the log is empty."""
    newest = None
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            try:
                record = os.read(descriptor, RECORD_BYTES)
            except BlockingIOError:
                return newest
            except BrokenPipeError:
                continue  # Overwritten while we read: the next one is still there.
            if not record:
                return newest
            newest = int(record.split(b",", 2)[1])
    finally:
        os.close(descriptor)
