# SPDX-License-Identifier: GPL-2.0-or-later
"""Time since boot and the identity of this boot; wall-clock time is for people only."""

from __future__ import annotations

import time

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def monotonic() -> float:
    """Seconds since boot (CLOCK_MONOTONIC), rounded to milliseconds for the event log."""
    return round(time.monotonic(), 3)


def boot_id(path: str = BOOT_ID) -> str:
    """The kernel's random identity of this boot (random(4))."""
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def wall_clock(moment: float) -> str:
    """A moment of the monotonic clock as local date and time."""
    then = time.time() - time.monotonic() + moment
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(then))


class LinuxClock:
    """See `kernel.machine.Clock`."""

    def __init__(self) -> None:
        """Raises OSError where /proc is missing."""
        self.boot_id = boot_id()

    def now(self) -> float:
        return monotonic()

    def wall_clock(self, moment: float) -> str:
        return wall_clock(moment)
