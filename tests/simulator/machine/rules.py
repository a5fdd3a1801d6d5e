# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules of a table do with a packet."""

from __future__ import annotations

from typing import Protocol

from flowguard.core.arms.draw import bucket_of
from flowguard.core.model import Family, FlowTuple
from flowguard.core.tables.description import (
    AddressIn,
    BucketBelow,
    DevicesOutside,
    DscpIs,
    FamilyIs,
    HostOutside,
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
    """What a rule can know of a packet's connection; `names` are the devices in and out.

    `addresses` are the real addresses behind them.
    """

    original: FlowTuple
    key: bytes
    mark: int
    family: Family
    names: tuple[str, str]

    @property
    def addresses(self) -> tuple[str, str]: ...

    def packets(self) -> int: ...


class Chain(Protocol):
    """The rules of a table and the sets that they look up."""

    rules: tuple[Rule, ...]
    forward_names: tuple[str, ...]
    hosts: tuple[str, ...]


def takes(chain: Chain, packet: Packet) -> bool:
    """Run the chain; whether it hands the flow over."""
    for rule in chain.rules:
        if all(_matches(m, chain, packet) for m in rule.matches):
            return isinstance(rule.action, Offload)
    return False


def _matches(match: Match, chain: Chain, packet: Packet) -> bool:
    match match:
        case ProtocolIs(protocol):
            return packet.original.protocol == protocol
        case MarkIs(mask, value):
            return packet.mark & mask == value
        case DevicesOutside(side):
            return packet.names[side is Side.DESTINATION] not in chain.forward_names
        case HostOutside(side, family):
            outside = packet.addresses[side is Side.DESTINATION] not in chain.hosts
            return packet.family is family and outside
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
