# SPDX-License-Identifier: GPL-2.0-or-later
"""How news of the kernel reach a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulator.process import Process

Called = Callable[[], None]


class Watching:
    """Until it is closed, or the program has ended."""

    def __init__(self, process: Process, stop: Called) -> None:
        self._stop = stop
        process.at_end.append(stop)

    def close(self) -> None:
        self._stop()


class Debounced:
    """Calls once for all that happens within a moment."""

    def __init__(self, process: Process, seconds: float, call: Called) -> None:
        self._process = process
        self._seconds = seconds
        self._call = call
        self._pending = False

    def __call__(self) -> None:
        if not self._pending:
            self._pending = True
            self._process.world.after(self._seconds, self._now)

    def _now(self) -> None:
        self._pending = False
        self._process.call(self._call)


def discard(items: list[Any], item: object) -> None:
    if item in items:
        items.remove(item)
