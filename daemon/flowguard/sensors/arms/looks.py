# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks at the observed flows again and again, and tells the policy how they fare."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable
from contextlib import aclosing

from flowguard.core.events import Converge, Event, FlowsJudged
from flowguard.core.model import Level
from flowguard.core.records import frozen
from flowguard.core.tables.plan import OffloadSettings
from flowguard.kernel import conntrack
from flowguard.kernel.clock import monotonic
from flowguard.kernel.conntrack import (
    HW_OFFLOAD,
    OFFLOAD,
    DestroyEvents,
    DumpInterrupted,
    Entry,
    Filter,
)
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.kernel.route.routes import Routes
from flowguard.sensors.arms.census import Observer, Stalled

LOOK_SECONDS = 5.0

log = logging.getLogger(__name__)


@frozen
class FlowSeen:
    """One connection for people: bytes as (original, reply), times on the monotonic clock.

    `arm` is "control", or "treated" while the flow is observed; then `born` is known, too.
    """

    flow: conntrack.Flow
    level: Level
    arm: str | None
    born: float | None
    stalled_since: float | None
    bytes: tuple[int, int]


class Observation:
    """The observer with its dumps and events; `health` is for the status."""

    def __init__(self, feed: Callable[[Event], None], settings: OffloadSettings) -> None:
        self.health = "ok"
        self._feed = feed
        self._routes = Routes()
        self._levels: tuple[tuple[str, Level], ...] = ()
        self._ended: DestroyEvents | None = None
        self._drawing = False
        self._observed = 0
        self.configure(settings)

    def configure(self, settings: OffloadSettings) -> None:
        """Other marks or shares: whatever was observed is forgotten."""
        self._settings = settings
        self._wanted = Filter(mark=settings.observe_mark, mark_mask=settings.observe_mark)
        self._observer = Observer(settings.control_mark, self._routes.pair_of)
        self._levels = ()

    def listen(self) -> DestroyEvents:
        """Hear of connections that end between two looks; raises OSError."""
        return DestroyEvents(
            self._wanted,
            lambda entries: self._observer.destroyed(entries),
            lambda: None,  # The next look finds them gone; only their last state is missed.
        )

    def begin(self, reached: Converge) -> None:
        """The kernel draws new flows as this command asked."""
        share = reached.draw.control_in(self._settings.control_share)
        levels = [level for _, level in reached.levels]
        self._drawing = share > 1 and any(level is not Level.NONE for level in levels)
        self._observer.begin(
            reached.epoch,
            share,
            in_hardware=Level.HARDWARE in levels,
            anew=reached.levels != self._levels,
        )
        self._levels = reached.levels
        self._routes.forget()

    async def run(self) -> None:
        """Look every LOOK_SECONDS, for ever."""
        while True:
            if self._drawing:
                try:
                    await self._look()
                except Exception as error:
                    # One odd connection must not end the watch over all others.
                    log.exception("a look at the observed flows failed")
                    self.health = f"internal error: {error}"
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        observer, wanted = self._observer, self._wanted
        try:
            async with aclosing(conntrack.sweep(wanted)) as batches:
                async for batch in batches:
                    observer.look(monotonic(), batch)
        except DumpInterrupted:
            # Half a look would show flows as gone that are not; the next one will do.
            observer.abandon()
            return
        except (OSError, MalformedMessage) as error:
            observer.abandon()
            self._report(f"the observed flows cannot be read: {error}")
            return
        self._report(_let_go(observer.released(), wanted.mark))
        if observer is self._observer:
            self._tell(observer.judge(monotonic()))

    def _tell(self, judged: FlowsJudged) -> None:
        news = judged.outcomes or judged.births or judged.observed or self._observed
        self._observed = judged.observed
        if news:
            self._feed(judged)

    def _report(self, health: str) -> None:
        if health not in ("ok", self.health):
            log.warning("%s", health)
        self.health = health

    @property
    def counters_proven(self) -> bool:
        """Whether hardware was seen to count; until then only the ends of flows are judged."""
        return self._observer.counters_proven

    def stalled(self) -> tuple[Stalled, ...]:
        return tuple(self._observer.stalled())

    async def flows(self, limit: int) -> tuple[FlowSeen, ...]:
        """Up to `limit` connections, stalled ones first and then the largest; raises OSError."""
        best: list[tuple[tuple[bool, int], int, Entry]] = []
        number = 0
        async with aclosing(conntrack.sweep(Filter())) as batches:
            async for batch in batches:
                for entry in batch:
                    number += 1
                    stalled = self._observer.stalled_since(entry.id) is not None
                    rank = (stalled, entry.original_bytes + entry.reply_bytes)
                    item = (rank, number, entry)
                    if len(best) < limit:
                        heapq.heappush(best, item)
                    elif best and item > best[0]:
                        heapq.heapreplace(best, item)
        return tuple(self._seen(entry) for _, _, entry in sorted(best, reverse=True))

    def _seen(self, entry: Entry) -> FlowSeen:
        level = Level.NONE
        if entry.status & OFFLOAD:
            level = Level.HARDWARE if entry.status & HW_OFFLOAD else Level.SOFTWARE
        arm = "treated" if entry.mark & self._settings.observe_mark else None
        if entry.mark & self._settings.control_mark:
            arm = "control"
        return FlowSeen(
            entry.flow(),
            level,
            arm,
            self._observer.born(entry.id),
            self._observer.stalled_since(entry.id),
            (entry.original_bytes, entry.reply_bytes),
        )

    def close(self) -> None:
        self._routes.close()


def _let_go(entries: list[Entry], observe_mark: int) -> str:
    """Without the mark nobody follows them: long-lived ones would be read at every look."""
    try:
        if entries:
            conntrack.clear_mark(entries, observe_mark)
    except (OSError, MalformedMessage) as error:
        return f"flows that are judged cannot be let go: {error}"
    return "ok"
