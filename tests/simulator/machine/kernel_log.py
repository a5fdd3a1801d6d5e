# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's log: numbered records in a ring that floods overwrite."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

RING = 1500
"""Records that fit; the 128 KiB of OpenWrt hold about as many."""


class LogFollower:
    """Reads on from a place; `wake` is called when there is news, `broken` when there is none
    any more."""

    def __init__(
        self, position: int, wake: Callable[[], None], broken: Callable[[str], None]
    ) -> None:
        self.position = position
        self.wake = wake
        self.broken = broken


class MemoryLog:
    """`error` says why nobody can read it; `uptime` gives the time for the records."""

    def __init__(self, uptime: Callable[[], float]) -> None:
        self.error: OSError | None = None
        self.followers: list[LogFollower] = []
        self._records: deque[tuple[int, bytes]] = deque(maxlen=RING)
        self._next = 0
        self._uptime = uptime
        self.write("Linux version 6.12.40", level=5)

    def write(self, text: str, *, level: int = 4, facility: int = 0, tail: str = "") -> int:
        """One record of the kernel (facility 0) or of a program; its number."""
        microseconds = int(self._uptime() * 1e6)
        number = self._next
        self._next += 1
        head = f"{facility * 8 + level},{number},{microseconds},-;"
        self._records.append((number, f"{head}{text}\n{tail}".encode()))
        for follower in tuple(self.followers):
            follower.wake()
        return number

    def skip(self, count: int) -> None:
        """So many records that nobody could read: they were too long, or overwritten."""
        self._next += count

    def newest(self) -> int | None:
        return self._records[-1][0] if self._records else None

    def newest_records(self, most: int) -> list[bytes]:
        return [data for _, data in self._records][-most:]

    def read(self, position: int, most: int) -> tuple[list[bytes], int]:
        """Records from this number on, and where to go on."""
        records = self._records
        if not records or position > records[-1][0]:
            return [], position
        # Nearly always only the last few are new.
        behind = min(len(records), records[-1][0] - position + 1)
        start = len(records) - behind
        while start < len(records) and records[start][0] < position:
            start += 1
        taken = [records[i] for i in range(start, min(start + most, len(records)))]
        if not taken:
            return [], position
        return [data for _, data in taken], taken[-1][0] + 1

    def break_down(self, error: OSError, told: str) -> None:
        """It cannot be read any more, whoever tries."""
        self.error = error
        for follower in tuple(self.followers):
            follower.broken(told)

    def mend(self) -> None:
        self.error = None
