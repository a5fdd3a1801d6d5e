# SPDX-License-Identifier: GPL-2.0-or-later
"""Follows new flows and judges each at fixed ages, both arms alike.

A flow is judged by what both arms can show: whether both directions go on, and how TCP
ended, and how soon. Every flow is judged at the same ages (CHECKPOINTS, seconds since it
was first seen), also when its fate is known sooner: were one arm's outcomes to come
earlier, any outage would look like a fault of the other. The same addresses and ports are
judged once in a while only, because they fall into the same arm each time.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from flowguard.core.arms.draw import (
    ANSWERED_CHECKPOINTS,
    ENDED_CHECKPOINTS,
    FIRST_CHECKPOINT,
    Births,
    OutcomeKind,
    Outcomes,
)
from flowguard.core.arms.sequential_test import Counts
from flowguard.core.events import FlowsJudged
from flowguard.core.records import frozen
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, TCP, UDP, Entry, Flow
from flowguard.sensors.arms.drawing import Drawing
from flowguard.sensors.arms.followed import (
    BUSY_CHECKPOINT,
    ESTABLISHED,
    PROTOCOLS,
    Cell,
    FollowedFlow,
    Pair,
)

CHECKPOINTS = tuple(sorted({*ANSWERED_CHECKPOINTS, *ENDED_CHECKPOINTS, BUSY_CHECKPOINT}))
# More flows are never followed; those beyond are left out of both arms alike.
LIMIT = 12_000
# Past the first checkpoint only so many are followed. A look admits an eighth of the places
# that are free, so that a burst does not take them all for minutes.
OLDER_MOST = 4500
ADMITTED_AT_ONCE = 8
# The hashes of so many newcomers are remembered: one that comes again among them is not judged.
REMEMBERED = 4096
WITNESSES = 1000

# The status that makes a flow one to be judged. UDP is assured only after two seconds in
# the slow path (nf_conntrack_proto_udp.c), where no offloaded flow stays so long.
SEEN_REPLY, ASSURED = 1 << 1, 1 << 2
ANSWERED_ONCE = {TCP: ASSURED, UDP: SEEN_REPLY}

PairOf = Callable[[Flow], Pair | None]


@frozen
class Stalled:
    """A flow of which one direction goes on and the other is silent, since a time."""

    flow: Flow
    since: float


class Census:
    """Feed it every look at the answered flows, in parts; it answers with who came of age.

    `pair_of` names the two devices that a flow passes. `counters_proven`: hardware was seen
    to count both directions of some flow. Until then its silence means nothing.
    `ends_are_visible`: connection tracking sees how flows end (`ends_are_visible_in`).
    """

    def __init__(
        self,
        pair_of: PairOf,
        *,
        ends_are_visible: bool,
    ) -> None:
        self.counters_proven = False
        self._pair_of = pair_of
        self._ends_are_visible = ends_are_visible
        self._epoch = 0
        self._drawing = Drawing()
        self._in_hardware = False
        # By conntrack id; `others` are known, and not followed or no more.
        self._flows: dict[int, FollowedFlow] = {}
        self._others: set[int] = set()
        self._remembered: dict[int, None] = {}
        self._seen: set[int] = set()  # in the look that is under way
        self._newcomers_count = False
        self._is_whole = True  # Whether that look began after the last change of the draw.
        self._destroyed: dict[int, Entry] = {}
        self._witnesses: dict[int, Entry] = {}
        self._witnesses_before: dict[int, Entry] = {}

    def begin(self, epoch: int, drawing: Drawing, *, in_hardware: bool, anew: bool) -> None:
        """Flows are drawn differently from now on.

        `anew`: the arms now compare other levels, so whatever was observed is forgotten.
        `in_hardware`: the treated arm is in hardware. Who changes arms is judged no more.
        """
        self._epoch, self._drawing, self._in_hardware = epoch, drawing, in_hardware
        # Nobody knows under which draw those were born that the next whole look finds.
        self._newcomers_count = False
        self._is_whole = not self._seen
        if anew:
            self._others.update(self._flows)
            self._flows.clear()
            self._remembered.clear()
        for number, flow in list(self._flows.items()):
            if flow.control != drawing.is_control(flow.hash):
                self._let_go(number)

    def go_on(self, drawing: Drawing) -> None:
        """The arms are the same; it is other flows that take part from now on."""
        self._drawing = drawing

    def destroyed(self, entries: Iterable[Entry]) -> None:
        """Connections that ended between two looks, with their last counters and state."""
        for entry in entries:
            if entry.id in self._flows:
                if entry.tcp_state == ESTABLISHED and entry.timeout is None:
                    entry = entry._replace(timeout=0)  # It expired in the time after a reset.
                self._destroyed[entry.id] = entry

    def look(self, time: float, entries: Iterable[Entry]) -> None:
        """A part of a look at the answered flows, at this monotonic time."""
        flows, others, seen = self._flows, self._others, self._seen
        for entry in entries:
            number = entry.id
            flow = flows.get(number)
            if flow:
                flow.look(entry, time)
            elif number not in others:
                if not self._newcomers_count or len(flows) >= LIMIT:
                    others.add(number)
                elif entry.status & ANSWERED_ONCE.get(entry.protocol, 0):
                    self._meet(entry, time)
                else:
                    continue
            seen.add(number)
            if not self.counters_proven and entry.status & HW_OFFLOAD:
                self._take_as_witness(entry)

    def judge(self, time: float) -> FlowsJudged:
        """The look is complete: who was not seen is gone, who came of age is judged."""
        for number in self._flows.keys() - self._seen:
            flow = self._flows[number]
            if flow.failed:
                del self._flows[number]
            else:
                # Its fate is known, but it is told at its age, as for all others.
                flow.look(self._destroyed.get(number, flow.entry), time)
        self._others &= self._seen
        # Who was seen may have ended since.
        self._destroyed = {n: e for n, e in self._destroyed.items() if n in self._seen}
        self._newcomers_count, self._is_whole = self._is_whole, True
        self.abandon()
        return self._judge(time)

    def abandon(self) -> None:
        """The look ends here; nobody is taken for gone who was not seen in it."""
        self._seen.clear()
        if self._witnesses:
            self._witnesses_before, self._witnesses = self._witnesses, {}

    def stalled(self) -> Iterator[Stalled]:
        """The observed flows that are stalled now."""
        for flow in self._flows.values():
            if flow.is_stalled():
                yield Stalled(flow.entry.flow(), flow.silent_since)

    def stalled_since(self, number: int) -> float | None:
        """Since when the observed flow of this conntrack id is stalled."""
        flow = self._flows.get(number)
        return flow.silent_since if flow and flow.is_stalled() else None

    def born(self, number: int) -> float | None:
        """When the observed flow of this conntrack id was first seen."""
        flow = self._flows.get(number)
        return flow.born if flow else None

    def _meet(self, entry: Entry, time: float) -> None:
        """A newcomer: it is followed, unless it takes no part."""
        if flow := self._newborn(entry, time):
            self._flows[entry.id] = flow
        else:
            self._others.add(entry.id)

    def _let_go(self, number: int) -> None:
        """Nobody follows it any more. It stays known, so that it is not taken for a new one."""
        del self._flows[number]
        self._others.add(number)

    def _newborn(self, entry: Entry, time: float) -> FollowedFlow | None:
        """The newcomer as one to be followed; None if it takes no part."""
        drawing = self._drawing
        number = drawing.hash_of(entry)
        if not drawing.is_watched(number) or self._was_here(number):
            return None
        flow = entry.flow()
        pair = self._pair_of(flow)
        if not drawing.concerns(entry, flow, pair):
            return None
        cell = Cell(flow.original.family, PROTOCOLS[entry.protocol], pair, self._epoch)
        return FollowedFlow(entry, cell, number, drawing.is_control(number), time)

    def _was_here(self, number: int) -> bool:
        """Whether the same addresses and ports came by before; they are remembered anew."""
        remembered = self._remembered
        was_here = number in remembered
        if was_here:
            del remembered[number]
        elif len(remembered) >= REMEMBERED:
            del remembered[next(iter(remembered))]
        remembered[number] = None
        return was_here

    def _take_as_witness(self, entry: Entry) -> None:
        """Of all flows, also those that are too old to be judged: any will do as a witness."""
        before = self._witnesses_before.get(entry.id)
        if len(self._witnesses) < WITNESSES:
            self._witnesses[entry.id] = entry
        self.counters_proven = (
            before is not None
            and entry.original_packets > before.original_packets
            and entry.reply_packets > before.reply_packets
        )
        if self.counters_proven:
            self._witnesses = self._witnesses_before = {}

    def _judge(self, time: float) -> FlowsJudged:
        counts: defaultdict[tuple[OutcomeKind, int, Cell], list[int]] = defaultdict(lambda: [0] * 4)
        births: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        admitted = self._places() // ADMITTED_AT_ONCE
        for number, flow in list(self._flows.items()):
            if flow.failed:
                if not flow.is_trying(time):
                    self._let_go(number)
                continue
            if time - flow.born < CHECKPOINTS[flow.done]:
                continue
            age = CHECKPOINTS[flow.done]
            for kind, good in self._outcomes_at(age, flow, time):
                counts[kind, age, flow.cell][2 * flow.control + good] += 1
            flow.failed = age in ANSWERED_CHECKPOINTS and flow.is_stalled()
            goes_on = age != CHECKPOINTS[-1]
            if age == FIRST_CHECKPOINT:
                births[flow.cell.epoch][flow.control and not self._is_treated(flow)] += 1
                admitted -= 1
                goes_on = admitted >= 0
            flow.done += 1
            if not (goes_on or flow.failed):
                self._let_go(number)
        return FlowsJudged(
            time,
            tuple(_outcomes(*key, numbers) for key, numbers in counts.items()),
            tuple(
                Births(epoch, self._drawing.control_share, *numbers)
                for epoch, numbers in births.items()
                if epoch == self._epoch and self._drawing.control_share > 1
            ),
            len(self._flows),
        )

    def _outcomes_at(
        self, age: int, flow: FollowedFlow, time: float
    ) -> Iterator[tuple[OutcomeKind, bool]]:
        if age == BUSY_CHECKPOINT:
            flow.was_busy = flow.is_busy(time)
        if age in ANSWERED_CHECKPOINTS:
            answered, flow.progressed = flow.answered(), False
            if answered is not None and self._answers_count():
                yield OutcomeKind.ANSWERED, answered
        if self._ends_are_visible and age in ENDED_CHECKPOINTS:
            ended = flow.tell_end(age)
            if ended is not None:
                yield OutcomeKind.ENDED, ended

    def _is_treated(self, flow: FollowedFlow) -> bool:
        """Whether it is on the level that the control arm is kept from, whatever its hash says."""
        return bool(flow.entry.status & (HW_OFFLOAD if self._in_hardware else OFFLOAD))

    def _places(self) -> int:
        """How many more flows may be followed past the first checkpoint."""
        older = sum(flow.done > 0 and not flow.failed for flow in self._flows.values())
        return OLDER_MOST - older

    def _answers_count(self) -> bool:
        return self.counters_proven or not self._in_hardware


def ends_are_visible_in(release: str) -> bool:
    """Before Linux 6.14 an offloaded flow that ends goes back to connection tracking, which
    sees how; since then it stays offloaded until it is idle (nf_flow_table_core.c). Of 6.12
    the 113th release took that over.
    """
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    major, minor, patch = (int(number or 0) for number in found.groups()) if found else (0, 0, 0)
    return (major, minor) < (6, 14) and not (6, 12, 113) <= (major, minor, patch) < (6, 13)


def _outcomes(kind: OutcomeKind, age: int, cell: Cell, numbers: list[int]) -> Outcomes:
    counts = Counts(*numbers)
    return Outcomes(kind, age, cell.family, cell.protocol, cell.pair, cell.epoch, counts)
