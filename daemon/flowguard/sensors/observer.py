# SPDX-License-Identifier: GPL-2.0-or-later
"""Follows the observed flows and judges each at fixed ages, both arms alike.

A flow is judged by what both arms can show: whether both directions go on, and how TCP
ended. Every flow is judged at the same ages (CHECKPOINTS, seconds since it was first seen),
also when its fate is known sooner: were one arm's outcomes to come earlier, any outage
would look like a fault of the other.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from flowguard.conntrack import HW_OFFLOAD, OFFLOAD, Entry, Flow
from flowguard.core.events import Births, FlowsJudged, OutcomeKind, Outcomes
from flowguard.core.evidence import Counts
from flowguard.core.model import Family, Protocol

CHECKPOINTS = (15, 60, 240)
# The ages at which it is asked how a connection ended: late enough for programs to give up.
ENDED_CHECKPOINTS = (60, 240)
# One packet may be on its way, two may be the last acknowledgement and the end.
UNANSWERED_PACKETS = 3
# For so long (seconds) must the other direction have gone on, and not in one look alone:
# what is counted late, after a transfer has ended, looks as if it were never answered.
UNANSWERED_SECONDS = 4.0
# More flows are never followed; those beyond are left out of both arms alike.
LIMIT = 12_000
WITNESSES = 1000

# The status that makes a flow one to be judged. UDP is assured only after two seconds in
# the slow path (nf_conntrack_proto_udp.c), where no offloaded flow stays so long.
SEEN_REPLY, ASSURED = 1 << 1, 1 << 2
ANSWERED_ONCE = {socket.IPPROTO_TCP: ASSURED, socket.IPPROTO_UDP: SEEN_REPLY}
# enum tcp_conntrack, include/uapi/linux/netfilter/nf_conntrack_tcp.h
ESTABLISHED, LAST_ACK, TIME_WAIT, CLOSE = 3, 6, 7, 8
# nf_flow_table leaves a connection that was reset so many seconds, in state ESTABLISHED.
RESET_TIMEOUT = 10
PROTOCOLS = {socket.IPPROTO_TCP: Protocol.TCP, socket.IPPROTO_UDP: Protocol.UDP}

Pair = tuple[str, str]
PairOf = Callable[[Flow], Pair | None]


@dataclass(frozen=True, slots=True)
class Cell:
    """What is known of a flow from its birth; outcomes are counted by it."""

    family: Family
    protocol: Protocol
    pair: Pair | None
    epoch: int


@dataclass(frozen=True, slots=True)
class Stalled:
    """A flow of which one direction goes on and the other is silent, since a time."""

    flow: Flow
    since: float


class _Observed:
    """One flow as it was at the last look. Mutable: it is the hot path of every look."""

    __slots__ = (
        "born",
        "cell",
        "control",
        "done",
        "end_told",
        "entry",
        "forth",
        "offloaded",
        "progressed",
        "silent_since",
        "unanswered",
        "went_on",
    )

    def __init__(self, entry: Entry, cell: Cell, control: bool, time: float) -> None:
        self.entry = entry
        self.cell = cell
        self.control = control
        self.born = time
        self.done = 0  # checkpoints passed
        self.end_told = False
        # The handshake alone proves no way through: it never meets the engine.
        handshake = 1 if cell.protocol is Protocol.TCP else 0
        self.progressed = entry.reply_packets > handshake
        self.forth = True  # the direction that goes on: the original one
        self.unanswered = 0 if self.progressed else max(0, entry.original_packets - 2)
        self.silent_since = self.went_on = time

    def look(self, entry: Entry, time: float) -> None:
        """Take the next look in."""
        former, self.entry = self.entry, entry
        original = entry.original_packets - former.original_packets
        reply = entry.reply_packets - former.reply_packets
        if original > 0 and reply > 0:
            self.progressed = True
            self.unanswered = 0
        elif original > 0 or reply > 0:
            forth = original > 0
            if not self.unanswered or forth != self.forth:
                self.forth, self.unanswered, self.silent_since = forth, 0, time
            self.unanswered += max(original, reply)
            self.went_on = time

    def is_stalled(self) -> bool:
        lasting = self.went_on - self.silent_since >= UNANSWERED_SECONDS
        return self.unanswered >= UNANSWERED_PACKETS and lasting

    def answered(self) -> bool | None:
        """The outcome since the checkpoint before; None for a flow without traffic."""
        if self.is_stalled():
            return False
        return True if self.progressed else None

    def ended(self) -> bool | None:
        """Whether it ended in order; None while it has not ended."""
        entry = self.entry
        if entry.tcp_state in (TIME_WAIT, LAST_ACK):
            return True
        offloaded = entry.status & OFFLOAD
        reset = (
            entry.tcp_state == ESTABLISHED
            and not offloaded
            and entry.timeout is not None
            and entry.timeout <= RESET_TIMEOUT
        )
        return False if entry.tcp_state == CLOSE or reset else None


class Observer:
    """Feed it every look at the observed flows; it answers with those that came of age.

    `pair_of` names the two devices that a flow passes. `counters_proven`: hardware was seen
    to count both directions of some flow. Until then its silence means nothing.
    """

    def __init__(
        self,
        control_mark: int,
        pair_of: PairOf,
        *,
        ends_are_visible: bool | None = None,
    ) -> None:
        self.counters_proven = False
        self._control_mark = control_mark
        self._pair_of = pair_of
        if ends_are_visible is None:
            ends_are_visible = ends_are_visible_in(os.uname().release)
        self._ends_are_visible = ends_are_visible
        self._epoch = 0
        self._control_share = 0.0
        self._in_hardware = False
        self._known: dict[int, _Observed | None] = {}
        self._newcomers_count = False
        self._destroyed: dict[int, Entry] = {}
        self._witnesses: dict[int, Entry] = {}

    def begin(self, epoch: int, control_share: float, *, in_hardware: bool, anew: bool) -> None:
        """New flows are drawn differently from now on.

        `anew`: the arms now compare other levels, so whatever was observed is forgotten.
        `in_hardware`: the treated arm is in hardware. One in `control_share` flows is of the
        control arm; 0 draws nothing.
        """
        self._epoch, self._control_share, self._in_hardware = epoch, control_share, in_hardware
        # Nobody knows under which draw those were born that the next look finds.
        self._newcomers_count = False
        if anew:
            self._known.clear()

    def destroyed(self, entries: Iterable[Entry]) -> None:
        """Connections that ended between two looks, with their last counters and state."""
        for entry in entries:
            if self._known.get(entry.id):
                if entry.tcp_state == ESTABLISHED and entry.timeout is None:
                    entry = entry._replace(timeout=0)  # It expired in the time after a reset.
                self._destroyed[entry.id] = entry

    def look(self, time: float, entries: list[Entry]) -> FlowsJudged:
        """One whole look at the observed flows, at this monotonic time."""
        if not self.counters_proven:
            self._look_for_proof(entries)
        present: dict[int, _Observed | None] = {}
        for entry in entries:
            if entry.id in self._known:
                flow = self._known.pop(entry.id)
                if flow:
                    flow.look(entry, time)
            elif not self._newcomers_count or len(present) >= LIMIT:
                flow = None
            elif entry.status & ANSWERED_ONCE.get(entry.protocol, 0):
                flow = self._newborn(entry, time)
            else:
                continue
            present[entry.id] = flow
        for number, gone in self._known.items():
            # Its fate is known, but it is told at its age, as for all others.
            if gone:
                gone.look(self._destroyed.get(number, gone.entry), time)
                present[number] = gone
        self._known, self._destroyed, self._newcomers_count = present, {}, True
        return self._judge(time)

    def stalled(self) -> Iterator[Stalled]:
        """The observed flows that are stalled now."""
        for flow in self._known.values():
            if flow and flow.is_stalled():
                yield Stalled(flow.entry.flow(), flow.silent_since)

    def stalled_since(self, number: int) -> float | None:
        """Since when the observed flow of this conntrack id is stalled."""
        flow = self._known.get(number)
        return flow.silent_since if flow and flow.is_stalled() else None

    def born(self, number: int) -> float | None:
        """When the observed flow of this conntrack id was first seen."""
        flow = self._known.get(number)
        return flow.born if flow else None

    def _newborn(self, entry: Entry, time: float) -> _Observed:
        flow = entry.flow()
        family = Family.IPV6 if ":" in flow.original.source else Family.IPV4
        cell = Cell(family, PROTOCOLS[entry.protocol], self._pair_of(flow), self._epoch)
        return _Observed(entry, cell, bool(entry.mark & self._control_mark), time)

    def _look_for_proof(self, entries: list[Entry]) -> None:
        """Of all flows, also those that are too old to be judged: any will do as a witness."""
        before = self._witnesses
        self._witnesses = {e.id: e for e in entries[:WITNESSES] if e.status & HW_OFFLOAD}
        self.counters_proven = any(
            number in before
            and entry.original_packets > before[number].original_packets
            and entry.reply_packets > before[number].reply_packets
            for number, entry in self._witnesses.items()
        )
        if self.counters_proven:
            self._witnesses = {}

    def _judge(self, time: float) -> FlowsJudged:
        counts: defaultdict[tuple[OutcomeKind, int, Cell], list[int]] = defaultdict(lambda: [0] * 4)
        births: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        for number, flow in list(self._known.items()):
            if flow is None or time - flow.born < CHECKPOINTS[flow.done]:
                continue
            age = CHECKPOINTS[flow.done]
            if not flow.done:
                births[flow.cell.epoch][flow.control] += 1
            answered = flow.answered()
            if answered is not None and self._answers_count():
                counts[OutcomeKind.ANSWERED, age, flow.cell][2 * flow.control + answered] += 1
            if self._ends_are_visible and age in ENDED_CHECKPOINTS and not flow.end_told:
                ended = flow.ended()
                if ended is not None:
                    flow.end_told = True
                    counts[OutcomeKind.ENDED, age, flow.cell][2 * flow.control + ended] += 1
            flow.done += 1
            flow.progressed = False
            if answered is False or flow.done == len(CHECKPOINTS):
                # It stays known, so that it is not taken for a new one.
                self._known[number] = None
        return FlowsJudged(
            time,
            tuple(_outcomes(*key, numbers) for key, numbers in counts.items()),
            tuple(
                Births(epoch, self._control_share, *numbers)
                for epoch, numbers in births.items()
                if epoch == self._epoch and self._control_share > 1
            ),
            sum(flow is not None for flow in self._known.values()),
        )

    def _answers_count(self) -> bool:
        return self.counters_proven or not self._in_hardware


def ends_are_visible_in(release: str) -> bool:
    """Before Linux 6.18 an offloaded flow that ends goes back to connection tracking, which
    sees how; since then it stays offloaded until it is idle (nf_flow_table_core.c).
    """
    major, minor = release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor[:2])) or 0)) < (6, 18)


def _outcomes(kind: OutcomeKind, age: int, cell: Cell, numbers: list[int]) -> Outcomes:
    counts = Counts(*numbers)
    return Outcomes(kind, age, cell.family, cell.protocol, cell.pair, cell.epoch, counts)
