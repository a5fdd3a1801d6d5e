# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules of a table do with a packet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flowguard.core.arms.draw import bucket_of
from flowguard.core.model import Family, FlowTuple
from flowguard.core.tables.description import (
    AddressIn,
    BucketBelow,
    DevicesOutside,
    DscpIs,
    FamilyIs,
    InterfaceIs,
    MarkIs,
    Match,
    Offload,
    PacketsAtLeast,
    PortIn,
    ProtocolIs,
    Rule,
    Side,
)
from flowguard.kernel.conntrack import connection_hash


class Packet(Protocol):
    """What a rule can know of a packet's connection; `names` are the devices in and out."""

    original: FlowTuple
    key: bytes
    mark: int
    family: Family
    names: tuple[str, str]

    def packets(self) -> int: ...


def takes(rules: Sequence[Rule], names: Sequence[str], packet: Packet) -> bool:
    """Run the chain; whether it hands the flow over."""
    for rule in rules:
        if all(_matches(m, names, packet) for m in rule.matches):
            return isinstance(rule.action, Offload)
    return False


def _matches(match: Match, names: Sequence[str], packet: Packet) -> bool:
    match match:
        case ProtocolIs(protocol):
            return packet.original.protocol == protocol
        case MarkIs(mask, value):
            return packet.mark & mask == value
        case DevicesOutside(side):
            return packet.names[side is Side.DESTINATION] not in names
        case BucketBelow(family, seed, limit):
            is_below = bucket_of(connection_hash(packet.key, seed)) < limit
            return packet.family is family and is_below
        case FamilyIs(family):
            return packet.family is family
        case InterfaceIs(side, name):
            return packet.names[side is Side.DESTINATION] == name
        case PortIn(side, first, last):
            port = (
                packet.original.source_port
                if side is Side.SOURCE
                else packet.original.destination_port
            )
            return first <= port <= last
        case PacketsAtLeast(count):
            return packet.packets() >= count
        case AddressIn(side, network):
            return _within(packet, side, network)
        case DscpIs():
            return False  # Nobody marks his packets here.


def _within(packet: Packet, side: Side, network: object) -> bool:
    import ipaddress

    original = packet.original
    text = original.source if side is Side.SOURCE else original.destination
    return ipaddress.ip_address(text) in network  # type: ignore[operator]
