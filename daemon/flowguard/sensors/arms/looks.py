# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks at the connections again and again, and tells the policy how both arms fare."""

from __future__ import annotations

import asyncio
import errno
import heapq
import logging
from collections.abc import Callable
from contextlib import aclosing

from flowguard.core.events import Converge, Event, FlowsJudged
from flowguard.core.model import Level
from flowguard.core.records import frozen
from flowguard.core.tables.description import Plan
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, DumpInterrupted, Entry, Filter, Flow
from flowguard.kernel.machine import Machine, Watch
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.sensors.arms.census import SEEN_REPLY, Census, Stalled, ends_are_visible_in
from flowguard.sensors.arms.drawing import Drawing
from flowguard.sensors.arms.ways import Ways
from flowguard.sensors.beat import until_beat
from flowguard.sensors.byte_counts import ByteCounts
from flowguard.sensors.turns import in_turns

LOOK_SECONDS = 5.0
# Where the table is so large that a look takes long, looks come less often, so that they take
# no more than this share of the time.
LOOKING_SHARE = 0.05
LOOK_SECONDS_MOST = 30.0
# Nobody is followed before there was an answer.
ANSWERED = Filter(SEEN_REPLY, SEEN_REPLY)
# One look that fails is normal where the table changes faster than it can be read.
FAILURES = 3
# What is asked of a connection may take a tenth of a millisecond; then others have their turn.
TURN = 16
TOO_FAST = "the connection table changes faster than it can be read"

log = logging.getLogger(__name__)


@frozen
class FlowSeen:
    """One connection for people; times are of the monotonic clock.

    `arm` is "control" or "treated", and None for a flow that takes no part in the comparison.
    `born` is known while it is followed.
    """

    entry: Entry
    flow: Flow
    arm: str | None
    born: float | None
    stalled_since: float | None

    @property
    def level(self) -> Level:
        return path_of(self.entry)

    @property
    def bytes(self) -> tuple[int, int]:
        """Of the original direction and of the reply."""
        return self.entry.original_bytes, self.entry.reply_bytes


def _everything(entry: Entry) -> bool:
    return True


class ArmsSensor:
    """The census with its dumps and events; `drawing` is what it takes the arms from."""

    name = "observation"
    patience: float | None = 60.0

    def __init__(
        self,
        machine: Machine,
        feed: Callable[[Event], None],
        byte_counts: ByteCounts | None = None,
    ) -> None:
        """`byte_counts` are fed with the same looks and ends."""
        self._byte_counts = byte_counts or ByteCounts()
        self._connections = machine.connections
        self._now = machine.clock.now
        self._feed = feed
        self.ways = Ways(machine.network, self._now)
        self._listening: Watch | None = None
        self._failure: asyncio.Future[Exception] | None = None
        self.drawing = Drawing()
        self._observe_share = 1
        self._observed = 0
        self._levels: tuple[tuple[str, Level], ...] = ()
        self._census = Census(
            self.ways.pair_of, ends_are_visible=ends_are_visible_in(machine.release)
        )

    def begin(self, reached: Converge, plan: Plan) -> None:
        """The kernel draws as this command asked, by the rules of this plan."""
        levels = [level for _, level in reached.levels]
        self._observe_share = reached.draw.observe_share
        self.drawing = self._drawing_of(plan)
        self._census.begin(
            reached.epoch,
            self.drawing,
            in_hardware=Level.HARDWARE in levels,
            anew=reached.levels != self._levels,
        )
        self._levels = reached.levels
        self.ways.forget()

    def hosts_changed(self, plan: Plan) -> None:
        """The rules of this plan draw as before; other hosts take part."""
        self.drawing = self._drawing_of(plan)
        self._census.go_on(self.drawing)

    def _drawing_of(self, plan: Plan) -> Drawing:
        return Drawing(plan.hardware or plan.software, self._observe_share)

    async def run(self, alive: Callable[[], None]) -> None:
        """Look every LOOK_SECONDS; raises what the listener or several looks failed with."""
        self._failure = asyncio.get_running_loop().create_future()
        failures = 0
        try:
            self._listen()
            while not self._failure.done():
                began = self._now()
                try:
                    if self.looks:
                        await self._look()
                except Exception as error:
                    # One odd connection must not end the watch over all others.
                    failures += 1
                    if failures == FAILURES:
                        raise
                    _complain(error)
                else:
                    failures = 0
                    alive()
                pause = min((self._now() - began) / LOOKING_SHARE, LOOK_SECONDS_MOST)
                await asyncio.wait([self._failure], timeout=until_beat(LOOK_SECONDS, pause))
            raise self._failure.result()
        finally:
            if self._listening:
                self._listening.close()
                self._listening = None

    def _listen(self) -> None:
        """Hear of connections that end between two looks."""
        self._listening = self._connections.listen(
            ANSWERED,
            self._ended,
            lambda: None,  # The next look finds them gone; only their last state is missed.
            lambda why: self._fail(OSError(why)),
        )

    def _ended(self, entries: list[Entry]) -> None:
        self._census.destroyed(entries)
        self._byte_counts.ended(entries)

    def _fail(self, error: Exception) -> None:
        if self._failure and not self._failure.done():
            self._failure.set_result(error)

    async def _look(self) -> None:
        census = self._census
        try:
            async with aclosing(self._connections.sweep(ANSWERED)) as batches:
                async for batch in batches:
                    census.look(self._now(), batch)
                    self._byte_counts.look(batch)
        except BaseException as error:
            # Half a look would show flows as gone that are not; the next one will do.
            census.abandon()
            if isinstance(error, DumpInterrupted):
                raise OSError(errno.EAGAIN, TOO_FAST) from None
            raise
        self._byte_counts.looked()
        self._tell(census.judge(self._now()))

    def _tell(self, judged: FlowsJudged) -> None:
        news = judged.outcomes or judged.births or judged.observed or self._observed
        self._observed = judged.observed
        if news:
            self._feed(judged)

    @property
    def looks(self) -> bool:
        """Whether it looks at the connections: not where nothing is drawn."""
        return self.drawing.control_share > 1

    @property
    def counters_proven(self) -> bool:
        """Whether hardware was seen to count; until then only the ends of flows are judged."""
        return self._census.counters_proven

    def stalled(self) -> tuple[Stalled, ...]:
        return tuple(self._census.stalled())

    async def flows(
        self, limit: int, wanted: Callable[[Entry], bool] = _everything
    ) -> tuple[FlowSeen, ...]:
        """Up to `limit` of the wanted connections, stalled ones first and then the largest.

        Raises OSError, MalformedMessage and DumpInterrupted.
        """
        best: list[tuple[tuple[bool, int], int, Entry]] = []
        number = 0
        async with aclosing(self._connections.sweep(Filter())) as batches:
            async for batch in batches:
                async for entry in in_turns(batch, TURN):
                    number += 1
                    stalled = self._census.stalled_since(entry.id) is not None
                    rank = (stalled, entry.original_bytes + entry.reply_bytes)
                    item = (rank, number, entry)
                    # Whether it is wanted is the dearest question.
                    if len(best) < limit:
                        if wanted(entry):
                            heapq.heappush(best, item)
                    elif item > best[0] and wanted(entry):
                        heapq.heapreplace(best, item)
        ranked = sorted(best, reverse=True)
        return tuple([self._seen(entry) async for _, _, entry in in_turns(ranked, TURN)])

    def _seen(self, entry: Entry) -> FlowSeen:
        flow = entry.flow()
        return FlowSeen(
            entry,
            flow,
            self._arm_of(entry, flow),
            self._census.born(entry.id),
            self._census.stalled_since(entry.id),
        )

    def _arm_of(self, entry: Entry, flow: Flow) -> str | None:
        drawing = self.drawing
        if not drawing.control_share:
            return None
        if not drawing.concerns(entry, flow, self.ways.pair_of(flow)):
            return None
        return "control" if drawing.is_control(drawing.hash_of(entry)) else "treated"


def path_of(entry: Entry) -> Level:
    """Where its packets are handled, by its status."""
    if not entry.status & OFFLOAD:
        return Level.NONE
    return Level.HARDWARE if entry.status & HW_OFFLOAD else Level.SOFTWARE


def _complain(error: Exception) -> None:
    unforeseen = not isinstance(error, OSError | MalformedMessage)
    log.warning("a look at the connections failed: %s", error, exc_info=unforeseen)
