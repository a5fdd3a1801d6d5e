# SPDX-License-Identifier: GPL-2.0-or-later
"""The draw as the kernel's rules make it: who is in which arm, and who takes no part."""

from __future__ import annotations

from flowguard.core.arms.draw import BUCKETS, bucket_of, is_watched
from flowguard.core.tables.description import BucketBelow, Table
from flowguard.core.tables.matching import Connection, TableRules
from flowguard.kernel.conntrack import Entry, Flow, connection_hash
from flowguard.sensors.arms.followed import PROTOCOLS, Pair


class Drawing:
    """By the rules of the highest table; without one, or one without arms, nothing is drawn.

    `seed` and `limit` are what those rules draw by.
    """

    def __init__(self, table: Table | None = None, observe_share: int = 1) -> None:
        rules = table.rules if table else ()
        drawing = [m for rule in rules for m in rule.matches if isinstance(m, BucketBelow)]
        self.seed = drawing[0].seed if drawing else 0
        self.limit = drawing[0].limit if drawing else 0
        self._rules = TableRules(table)
        self._observe_share = observe_share

    @property
    def control_share(self) -> float:
        """One in so many connections is of the control arm; 0 when none is."""
        return BUCKETS / self.limit if self.limit else 0.0

    def hash_of(self, entry: Entry) -> int:
        """What decides on the connection; raises MalformedMessage."""
        return connection_hash(entry.key, self.seed)

    def is_control(self, connection_hash: int) -> bool:
        return bucket_of(connection_hash) < self.limit

    def is_watched(self, connection_hash: int) -> bool:
        return is_watched(connection_hash, self._observe_share)

    def concerns(self, entry: Entry, flow: Flow, pair: Pair | None) -> bool:
        """Whether the arms mean anything to the connection: the table would take it.

        `pair` are the devices that it passes, by the routing table without packet marks. A
        connection with a mark may well be routed by it, so it is not left out by its devices.
        """
        ends = pair or (None, None)
        connection = Connection(flow.original, flow.reply, ends, entry.mark)
        return entry.protocol in PROTOCOLS and self._rules.leaving(connection) is None
