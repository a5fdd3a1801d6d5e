# SPDX-License-Identifier: GPL-2.0-or-later
"""The arms: how flows are drawn for them, and how the drawn flows fared.

A connection's arm is a keyed hash of its original addresses and ports (nft `jhash ... mod N
seed S`): the rule computes it for every packet, and the daemon for every connection that it
looks at. So nothing has to be remembered, and nothing is written into anybody's connections.
The hash puts each connection into one of BUCKETS. The control arm are the buckets below a
limit, and a canary treats those at the upper end. So a share that is raised takes more
buckets and gives none back: who is treated at a small share is treated at every larger one.

What the test of the arms needs is that a connection's arm has nothing to do with how it would
have fared:
- Nobody outside knows the seed, so nobody's choice of ports or addresses depends on it.
- The same addresses and ports fall into the same arm again. A program that always uses the
  same ports, and always fails, would count again and again in one arm, as if many connections
  had been drawn. So the same addresses and ports are judged once, and again only after
  thousands of others (`sensors/arms/census.py`): one connection in thousands is far less than
  the excess of failures that the test tolerates.
- Each comparison of other levels has a new seed. Were an unlucky draw to speak against a
  device, it could not do so again after the hold-off.
- Stages of a canary and a widened control arm keep the seed. A connection whose arm that
  changes is judged no more: its bucket alone decides that, not how it fared.
"""

from __future__ import annotations

from enum import StrEnum

from flowguard.core.arms.jhash import jhash
from flowguard.core.arms.sequential_test import Counts
from flowguard.core.model import Family, Protocol
from flowguard.core.records import frozen

# The ages (seconds since a flow was first seen) at which it is judged by its answers. The
# first is soon enough to act on, and late enough for a few retransmissions to be counted.
FIRST_CHECKPOINT = 10
ANSWERED_CHECKPOINTS = (FIRST_CHECKPOINT, 60, 240)
# The ages at which it is asked how a connection ended: late enough for programs to give up.
ENDED_CHECKPOINTS = (60, 240)


# The kernel takes the upper bits of the hash for them (reciprocal_scale in nft_hash.c); the
# lower ones are left for the choice of those who are watched.
BUCKETS = 1 << 20
HASH_BITS = 32
PARTS = 1 << 12


@frozen
class Draw:
    """The shares at which flows are drawn now: one in so many.

    `control_share` is None for the configured one. `observe_share` thins out the flows that
    are watched when there are very many, so that a look stays cheap. In a canary the arms
    are the other way round: one in `canary` flows is treated, the rest is the control arm.
    `seed` is the key of the hash.
    """

    control_share: int | None = None
    observe_share: int = 1
    canary: int | None = None
    seed: int = 0

    def control_in(self, configured: int) -> float:
        """One in so many new flows is of the control arm; 0 when none is."""
        if self.canary:
            return self.canary / (self.canary - 1)
        return configured if self.control_share is None else self.control_share

    def control_below(self, configured: int) -> int:
        """The buckets below this are the control arm; 0 when none are."""
        if self.canary:
            return BUCKETS - BUCKETS // self.canary
        share = configured if self.control_share is None else self.control_share
        return BUCKETS // share if share else 0


def bucket_of(connection_hash: int) -> int:
    return connection_hash * BUCKETS >> HASH_BITS


def is_watched(connection_hash: int, observe_share: int) -> bool:
    """Whether the connection is among the one in `observe_share` that are watched."""
    return connection_hash % PARTS * observe_share < PARTS


def first_seed(boot_id: str) -> int:
    """The seed of a boot's first comparison: its id is random, and no packet tells it."""
    return jhash(boot_id.encode(), 0, "little")


def next_seed(seed: int) -> int:
    """The seed of the comparison after this one."""
    return jhash(seed.to_bytes(4, "little"), seed, "little")


class OutcomeKind(StrEnum):
    """What a flow is judged by; both arms can show each of them.

    ANSWERED: whether one direction went on while the other stayed silent. ENDED: whether
    it ended in order, or by a reset or a timeout.
    """

    ANSWERED = "answered"
    ENDED = "ended"


@frozen
class Outcomes:
    """How flows of one kind fared, all judged at the same age (`checkpoint`, seconds).

    `pair` are the two devices they pass, when that is known. `epoch` tells under which draw
    they were born.
    """

    kind: OutcomeKind
    checkpoint: int
    family: Family
    protocol: Protocol
    pair: tuple[str, str] | None
    epoch: int
    counts: Counts


@frozen
class Births:
    """Observed flows that reached their first checkpoint, by arm, under one draw."""

    epoch: int
    control_share: float
    treated: int
    control: int
