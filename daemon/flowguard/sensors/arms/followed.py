# SPDX-License-Identifier: GPL-2.0-or-later
"""One observed flow, and what both arms can show of it."""

from __future__ import annotations

from flowguard.core.model import Family, Protocol
from flowguard.core.records import frozen
from flowguard.kernel.conntrack import OFFLOAD, TCP, UDP, Entry

# Of those that have ended by this age, who was still busy at BUSY_CHECKPOINT counts as failed
# too. Where only answers are lost, both ends repeat themselves and all of it is counted; at
# length the pauses outlast the flow's time in hardware, and it resumes outside and ends well.
# Both arms show it: what has FIN or RST set is not hardware's (nf_flow_rule_match in
# nf_flow_table_offload.c). By the next age everybody would be late.
LATE_CHECKPOINT = 60
BUSY_CHECKPOINT = 15
BUSY_SECONDS = 10.0  # Pauses of retransmissions are that long after a dozen seconds.
# One packet may be on its way, two may be the last acknowledgement and the end.
UNANSWERED_PACKETS = 3
# For so long (seconds) must the other direction have gone on, and not in one look alone:
# what is counted late, after a transfer has ended, looks as if it were never answered.
UNANSWERED_SECONDS = 4.0
# Who is stalled has given up after so long a pause: TCP doubles its own up to two minutes.
GIVEN_UP_SECONDS = 30.0

# enum tcp_conntrack, include/uapi/linux/netfilter/nf_conntrack_tcp.h
ESTABLISHED, LAST_ACK, TIME_WAIT, CLOSE = 3, 6, 7, 8
# nf_flow_table leaves a connection that was reset so many seconds, in state ESTABLISHED.
RESET_TIMEOUT = 10

PROTOCOLS = {TCP: Protocol.TCP, UDP: Protocol.UDP}

Pair = tuple[str, str]


@frozen
class Cell:
    """What is known of a flow from its birth; outcomes are counted by it."""

    family: Family
    protocol: Protocol
    pair: Pair | None
    epoch: int


class FollowedFlow:
    """One flow as it was at the last look. Mutable: it is the hot path of every look."""

    __slots__ = (
        "born",
        "cell",
        "control",
        "done",
        "end_told",
        "entry",
        "failed",
        "forth",
        "hash",
        "moved",
        "progressed",
        "silent_since",
        "unanswered",
        "was_busy",
        "went_on",
    )

    def __init__(
        self, entry: Entry, cell: Cell, connection_hash: int, control: bool, time: float
    ) -> None:
        self.entry = entry
        self.cell = cell
        self.hash = connection_hash
        self.control = control
        self.born = time
        self.done = 0  # checkpoints passed
        self.end_told = False
        self.failed = False  # It is only watched for as long as it tries.
        self.was_busy = False  # at BUSY_CHECKPOINT
        # The handshake alone proves no way through: it never meets the engine.
        handshake = 1 if cell.protocol is Protocol.TCP else 0
        self.progressed = entry.reply_packets > handshake
        self.forth = True  # the direction that goes on: the original one
        self.unanswered = 0 if self.progressed else max(0, entry.original_packets - 2)
        self.silent_since = self.went_on = self.moved = time

    def look(self, entry: Entry, time: float) -> None:
        """Take the next look in."""
        former, self.entry = self.entry, entry
        original = entry.original_packets - former.original_packets
        reply = entry.reply_packets - former.reply_packets
        if original > 0 or reply > 0:
            self.moved = time
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

    def is_trying(self, time: float) -> bool:
        return self.is_stalled() and time - self.went_on < GIVEN_UP_SECONDS

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

    def is_busy(self, time: float) -> bool:
        return time - self.moved < BUSY_SECONDS and self.ended() is None

    def tell_end(self, age: int) -> bool | None:
        """The outcome at this age, once: whether it ended in order and soon enough."""
        ended = None if self.end_told else self.ended()
        self.end_told = self.end_told or ended is not None
        if ended and self.was_busy and age == LATE_CHECKPOINT:
            return False
        return ended
