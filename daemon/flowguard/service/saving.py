# SPDX-License-Identifier: GPL-2.0-or-later
"""Saves from time to time what the next daemon goes on from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PROGRESS_SECONDS = 10.0


class Progress:
    """Runs like a sensor, so that it is started again when it ends."""

    name = "progress"
    patience: float | None = 60.0

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save

    async def run(self, alive: Callable[[], None]) -> None:
        while True:
            self._save()
            alive()
            await asyncio.sleep(PROGRESS_SECONDS)
