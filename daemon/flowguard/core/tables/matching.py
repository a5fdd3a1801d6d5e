# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules of a table do with a connection, without the kernel."""

from __future__ import annotations

from flowguard.core.arms.draw import bucket_of
from flowguard.core.model import FlowTuple
from flowguard.core.records import frozen
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
    Rule,
    Side,
    Table,
)


@frozen
class Connection:
    """One connection, as far as rules look at it.

    `ends` are the devices towards `original.source` and `reply.source`, its real ends, by the
    routing table without packet marks; None where that is not known. `connection_hash` is by
    the seed of the rules that draw; None: its arm does not matter.
    """

    original: FlowTuple
    reply: FlowTuple
    ends: tuple[str | None, str | None] = (None, None)
    mark: int = 0
    connection_hash: int | None = None


class TableRules:
    """The rules of a table, ready to be asked; without a table there are none."""

    def __init__(self, table: Table | None) -> None:
        self._hosts = frozenset(table.hosts if table else ())
        self._names = frozenset(table.forward_names if table else ())
        rules = table.rules if table else ()
        self._leaving = [rule for rule in rules if isinstance(rule.action, Leave)]

    def leaving(self, connection: Connection) -> Rule | None:
        """The first rule that leaves the connection alone; None when the table would take it.

        What only a packet shows (its DSCP) and what changes with time (how many there were)
        leaves nobody alone here.
        """
        for rule in self._leaving:
            if all(self._matches(match, connection) for match in rule.matches):
                return rule
        return None

    def _matches(self, match: Match, connection: Connection) -> bool:
        original, ends = connection.original, connection.ends
        match match:
            case DevicesOutside():
                # One with a mark may well be routed by it, and not by what is known here.
                known = None not in ends and not connection.mark
                return known and not self._names.issuperset(ends)
            case InterfaceIs(_, name):
                return name in ends
            case HostOutside():
                # It stands beside an InterfaceIs, and one end of the flow is behind that.
                return self._hosts.isdisjoint((original.source, connection.reply.source))
            case FamilyIs(family):
                return family is original.family
            case ProtocolIs(protocol):
                return protocol == original.protocol
            case MarkIs(mask, value):
                return connection.mark & mask == value
            case PortIn(side, first, last):
                return first <= _port(original, side) <= last
            case AddressIn(side, network):
                # Who has an AddressIn has loaded this already.
                from ipaddress import ip_address

                return ip_address(_address(original, side)) in network
            case BucketBelow(family, _, limit):
                drawn = connection.connection_hash
                return drawn is not None and family is original.family and bucket_of(drawn) < limit
        return False


def _port(original: FlowTuple, side: Side) -> int:
    return original.source_port if side is Side.SOURCE else original.destination_port


def _address(original: FlowTuple, side: Side) -> str:
    return original.source if side is Side.SOURCE else original.destination
