# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the converger for the service: one plan at a time, the newest supersedes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from flowguard.actuators.approach import ConvergeError, Converger
from flowguard.core.events import Converged, ConvergeFailed, Event
from flowguard.core.model import FlowTuple
from flowguard.core.tables.description import Plan
from flowguard.kernel.clock import monotonic

log = logging.getLogger(__name__)


class Convergence:
    """Tells `feed` how it went; `plan` is the last one that the kernel was proven to hold."""

    def __init__(self, converger: Converger, feed: Callable[[Event], None]) -> None:
        self.plan = Plan(None, None)
        self._converger = converger
        self._feed = feed
        self._running: asyncio.Task[None] | None = None

    def start(self, target: Plan) -> None:
        """Bring the kernel to this plan, whatever is under way."""
        former = self._running
        if former:
            former.cancel()
        self._running = asyncio.create_task(self._converge(target, former))

    async def intact(self) -> bool:
        """Whether nobody else changed our tables; asked when we have done changing them."""
        if self._running and not self._running.done():
            # Converging ends with a dump of its own; only what happens later is news.
            await asyncio.wait([self._running])
        return await self._converger.intact()

    async def release(self) -> tuple[FlowTuple, ...]:
        """Drain as long as the converger allows, remove everything; what would not leave."""
        await self.close()
        return await self._converger.release()

    async def close(self) -> None:
        """End what is under way; the kernel stays as it is."""
        if self._running:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _converge(self, target: Plan, former: asyncio.Task[None] | None) -> None:
        if former:
            await asyncio.wait([former])
        try:
            await self._converger.converge(target)
        except ConvergeError as error:
            self._feed(ConvergeFailed(monotonic(), str(error), error.device))
        except Exception as error:
            # Whatever went wrong, the policy must hear of it, or it would wait for ever.
            log.exception("converging failed")
            self._feed(ConvergeFailed(monotonic(), f"internal error: {error}"))
        else:
            self.plan = target
            self._feed(Converged(monotonic()))
