# SPDX-License-Identifier: GPL-2.0-or-later
"""The engines' tables, of which the first look is on record on flash while it lasts.

Printing the table has crashed kernels, and whoever looks then must not look again after the
reboot, nor blame the hardware.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from flowguard.core.events import Event, LookBegun, LookEnded
from flowguard.kernel.machine import Engines, Files

if TYPE_CHECKING:
    from flowguard.kernel.engines import EngineEntry


class UnreadEngines:
    """For who may not look at all: a drain is over when connection tracking says so."""

    def are_readable(self) -> bool:
        return False

    async def sweep(self, *, only_bound: bool) -> AsyncGenerator[list[EngineEntry], None]:
        nothing: list[list[EngineEntry]] = []
        for chunk in nothing:
            yield chunk


class CarefulEngines:
    """As `Engines`; where the eye `is_shut` there is nothing to read.

    `kept` returns when what was fed is on flash. The file `mark`, which a boot begins without,
    says that a look of this boot has ended well: then flash is spared.
    """

    def __init__(
        self,
        engines: Engines,
        files: Files,
        mark: str,
        now: Callable[[], float],
        feed: Callable[[Event], None],
        kept: Callable[[], Awaitable[None]],
        is_shut: Callable[[], bool],
    ) -> None:
        self._engines = engines
        self._files = files
        self._mark = mark
        self._now = now
        self._feed = feed
        self._kept = kept
        self._is_shut = is_shut
        self._survived = False

    def are_readable(self) -> bool:
        return not self._is_shut() and self._engines.are_readable()

    async def sweep(self, *, only_bound: bool) -> AsyncGenerator[list[EngineEntry], None]:
        if self._is_shut():
            return
        self._survived = self._survived or self._files.exists(self._mark)
        if not self._survived:
            self._feed(LookBegun(self._now()))
            await self._kept()
        try:
            async with aclosing(self._engines.sweep(only_bound=only_bound)) as chunks:
                async for chunk in chunks:
                    # The driver prints its whole table before it hands out anything.
                    self._has_survived()
                    yield chunk
        except OSError as error:
            if error.errno != errno.EBUSY:  # That one says that a look hangs.
                self._has_survived()
            raise
        self._has_survived()

    def _has_survived(self) -> None:
        if not self._survived:
            self._survived = True
            self._feed(LookEnded(self._now()))
            with contextlib.suppress(OSError):  # Then the next daemon writes once more.
                self._files.replace(self._mark, "")
