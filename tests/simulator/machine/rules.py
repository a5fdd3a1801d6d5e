# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules of a table do with a packet."""

from __future__ import annotations

from random import Random
from typing import Protocol

from flowguard.core.model import Family, FlowTuple
from flowguard.core.tables.description import (
    AddressIn,
    AllButOneIn,
    DevicesOutside,
    DscpIs,
    FamilyIs,
    HostOutside,
    InterfaceIs,
    Leave,
    MarkIs,
    Match,
    NewConnection,
    Observe,
    Offload,
    OneIn,
    PacketsAtLeast,
    PacketsAtMost,
    PortIn,
    ProtocolIs,
    Rule,
    SetMark,
    Side,
)


class Packet(Protocol):
    """What a rule can know of a packet's connection; `names` are the devices in and out.

    `addresses` are the real addresses behind them.
    """

    original: FlowTuple
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


def takes(chain: Chain, packet: Packet, *, new: bool, numgen: Random) -> bool:
    """Run the chain; whether it hands the flow over. Marks are set on the way."""
    for rule in chain.rules:
        if not all(_matches(m, chain, packet, new, numgen) for m in rule.matches):
            continue
        match rule.action:
            case Offload():
                return True
            case SetMark(bits):
                packet.mark |= bits
            case Observe(observe, control, drawn):
                packet.mark |= observe
                if _matches(drawn, chain, packet, new, numgen):
                    packet.mark |= control
            case Leave():
                return False
    return False


def _matches(match: Match, chain: Chain, packet: Packet, new: bool, numgen: Random) -> bool:
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
        case NewConnection():
            return new
        case OneIn(count):
            return numgen.random() * count < 1
        case AllButOneIn(count):
            return numgen.random() * count >= 1
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
        case PacketsAtMost(count):
            return packet.packets() <= count
        case AddressIn(side, network):
            return _within(packet, side, network)
        case DscpIs():
            return False  # Nobody marks his packets here.


def _within(packet: Packet, side: Side, network: object) -> bool:
    import ipaddress

    original = packet.original
    text = original.source if side is Side.SOURCE else original.destination
    return ipaddress.ip_address(text) in network  # type: ignore[operator]
