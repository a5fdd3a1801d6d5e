# SPDX-License-Identifier: GPL-2.0-or-later
"""Has the kernel brought to the newest plan, for the service: a newer one supersedes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from flowguard.actuators.approach import ConvergeError, Converger
from flowguard.actuators.steps import levels_in
from flowguard.core.events import Converged, ConvergeFailed, Event
from flowguard.core.model import FlowTuple, Level
from flowguard.core.tables.description import Plan
from flowguard.kernel.nftables.ruleset import TablesState, seed_of

log = logging.getLogger(__name__)


class NewestPlan:
    """Tells `feed` how it went; `reached` is the last plan that the kernel was proven to hold."""

    def __init__(
        self,
        converger: Converger,
        feed: Callable[[Event], None],
        now: Callable[[], float],
    ) -> None:
        self.reached = Plan(None, None)
        self._converger = converger
        self._feed = feed
        self._now = now
        self._running: asyncio.Task[None] | None = None
        self._released = False

    def start(self, target: Plan) -> None:
        """Bring the kernel to this plan, whatever is under way; not after a release."""
        if self._released:
            return
        former = self._running
        if former:
            former.cancel()
        self._running = asyncio.create_task(self._converge(target, former))

    @property
    def is_busy(self) -> bool:
        """Whether the newest plan is neither reached nor refused yet."""
        return self._running is not None and not self._running.done()

    async def settled(self) -> None:
        """Wait until the newest plan is reached or refused."""
        while self._running and not self._running.done():
            await asyncio.wait([self._running])

    async def intact(self) -> bool:
        """Whether nobody else changed our tables; asked when we have done changing them."""
        if self._running and not self._running.done():
            # Converging ends with a dump of its own; only what happens later is news.
            await asyncio.wait([self._running])
        return await self._converger.intact()

    async def release(self) -> tuple[FlowTuple, ...]:
        """Drain as long as the converger allows, remove everything; what would not leave.

        Raises ConvergeError when the kernel refuses; then plans are followed as before.
        """
        self._released = True
        await self.close()
        try:
            left = await self._converger.release()
        except BaseException:
            self._released = False
            raise
        self.reached = Plan(None, None)
        self._feed(Converged(self._now(), ()))
        return left

    async def close(self) -> None:
        """End what is under way; the kernel stays as it is."""
        if self._running:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _converge(self, target: Plan, former: asyncio.Task[None] | None) -> None:
        if former:
            await asyncio.wait([former])
        try:
            reached = await self._converger.converge(target)
        except ConvergeError as error:
            held = await self.held()
            self._feed(ConvergeFailed(self._now(), str(error), error.device, held))
        except Exception as error:
            # Whatever went wrong, the policy must hear of it, or it would wait for ever.
            log.exception("converging failed")
            held = await self.held()
            self._feed(ConvergeFailed(self._now(), f"internal error: {error}", None, held))
        else:
            self.reached = target
            self._feed(Converged(self._now(), reached.held, reached.parked))

    async def held(self) -> tuple[tuple[str, Level], ...] | None:
        """The levels that the kernel holds now; None when it does not say."""
        found = await self._found()
        return None if found is None else levels_in(found)

    async def left_behind(self) -> tuple[tuple[tuple[str, Level], ...], int | None]:
        """The levels that a daemon before has left, and what its rules draw the arms by.

        Nothing, too, when the kernel does not say.
        """
        found = await self._found()
        return ((), None) if found is None else (levels_in(found), seed_of(found))

    async def _found(self) -> TablesState | None:
        try:
            return await self._converger.found()
        except ConvergeError as error:
            log.warning("the tables cannot be read: %s", error)
            return None

    async def left_in_hardware(self) -> tuple[FlowTuple, ...] | None:
        """What the engine may still forward: the flows that are known, none, or None for all.

        Raises ConvergeError when the kernel does not say.
        """
        return await self._converger.left_in_hardware()
