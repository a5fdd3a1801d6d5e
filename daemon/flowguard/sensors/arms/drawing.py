# SPDX-License-Identifier: GPL-2.0-or-later
"""The draw as the kernel's rules make it: who is in which arm, and who takes no part."""

from __future__ import annotations

from flowguard.core.arms.draw import BUCKETS, bucket_of, is_watched
from flowguard.core.model import Family, FlowTuple
from flowguard.core.tables.description import (
    AddressIn,
    BucketBelow,
    DevicesOutside,
    FamilyIs,
    HostOutside,
    InterfaceIs,
    Leave,
    MarkIs,
    Match,
    PortIn,
    ProtocolIs,
    Side,
    Table,
)
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
        self._hosts = frozenset(table.hosts if table else ())
        self._names = frozenset(table.forward_names if table else ())
        self._leaves = [rule.matches for rule in rules if isinstance(rule.action, Leave)]
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
        return entry.protocol in PROTOCOLS and not any(
            all(self._matches(match, entry, flow, pair) for match in matches)
            for matches in self._leaves
        )

    def _matches(self, match: Match, entry: Entry, flow: Flow, pair: Pair | None) -> bool:
        original = flow.original
        match match:
            case DevicesOutside():
                return bool(pair) and not entry.mark and not self._names.issuperset(pair or ())
            case InterfaceIs(_, name):
                return name in (pair or ())
            case HostOutside():
                # It stands beside an InterfaceIs, and one end of the flow is behind that.
                return self._hosts.isdisjoint((original.source, flow.reply.source))
            case FamilyIs(family):
                return family is (Family.IPV6 if ":" in original.source else Family.IPV4)
            case ProtocolIs(protocol):
                return protocol == original.protocol
            case MarkIs(mask, value):
                return entry.mark & mask == value
            case PortIn(side, first, last):
                return first <= _port(original, side) <= last
            case AddressIn(side, network):
                # Who has an AddressIn has loaded this already.
                from ipaddress import ip_address

                return ip_address(_address(original, side)) in network
        # An arm is no reason to stay out of the comparison, and no entry shows a packet's DSCP.
        return False


def _port(original: FlowTuple, side: Side) -> int:
    return original.source_port if side is Side.SOURCE else original.destination_port


def _address(original: FlowTuple, side: Side) -> str:
    return original.source if side is Side.SOURCE else original.destination
