# SPDX-License-Identifier: GPL-2.0-or-later
"""The sensors that listen all the time, and how they are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)


class Listener(Protocol):
    def close(self) -> None: ...


class Listeners:
    """One that cannot start is reported in `health`, for the status; the others work."""

    def __init__(self) -> None:
        self.health: dict[str, str] = {}
        self._started: list[Listener] = []

    def start(self, name: str, make: Callable[[], Listener]) -> None:
        try:
            self._started.append(make())
        except OSError as error:
            self.health[name] = f"not available: {error.strerror or error}"
            log.warning("sensor %s is %s", name, self.health[name])
        else:
            self.health[name] = "ok"

    def close(self) -> None:
        for listener in self._started:
            listener.close()
