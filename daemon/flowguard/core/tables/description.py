# SPDX-License-Identifier: GPL-2.0-or-later
"""The nftables tables that should exist, as small, typed descriptions.

`kernel.nftables.expressions` knows how the kernel spells them. Two tables, because a device may be
in one flowtable only per table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from flowguard.core.model import Family, Protocol
from flowguard.core.records import frozen
from flowguard.core.tables.why import Why

HARDWARE_TABLE = "flowguard"
SOFTWARE_TABLE = "flowguard_sw"
# After the filter hook (priority 0), so that what the firewall drops is never offloaded.
HARDWARE_PRIORITY = 10
SOFTWARE_PRIORITY = 11

if TYPE_CHECKING:
    # 0.3 MB of memory, for those only who have sections of the kind `exclude`.
    from ipaddress import IPv4Network, IPv6Network

Network: TypeAlias = "IPv4Network | IPv6Network"


class Side(StrEnum):
    SOURCE = "source"
    DESTINATION = "destination"


@frozen
class DevicesOutside:
    """iifname (SOURCE) or oifname (DESTINATION) is none of the table's forward names."""

    side: Side


@frozen
class InterfaceIs:
    side: Side
    name: str


@frozen
class HostOutside:
    """This packet's own address (not the connection's) is none of the table's hosts.

    At the forward hook it is the real address of either end, whatever NAT shows to the other.
    """

    side: Side
    family: Family


@frozen
class FamilyIs:
    family: Family


@frozen
class ProtocolIs:
    protocol: Protocol


@frozen
class AddressIn:
    """Address of the connection's original direction within a network; implies its family.

    The original direction, because a packet of either direction may hand a flow over.
    """

    side: Side
    network: Network


@frozen
class PortIn:
    """Port of the connection's original direction, from first to last, both included."""

    side: Side
    first: int
    last: int


@frozen
class DscpIs:
    """DSCP 0..63 of this packet's header; the field sits elsewhere in each family."""

    family: Family
    value: int


@frozen
class MarkIs:
    """Conntrack mark and mask equals value."""

    mask: int
    value: int


@frozen
class BucketBelow:
    """The connection is of this family, and its bucket (`core.arms.draw`) below `limit`."""

    family: Family
    seed: int
    limit: int


@frozen
class PacketsAtLeast:
    """The connection has had so many packets, both directions together.

    Counted by connection tracking; with net.netfilter.nf_conntrack_acct=0 there are none.
    """

    count: int


Match = (
    DevicesOutside
    | InterfaceIs
    | HostOutside
    | FamilyIs
    | ProtocolIs
    | AddressIn
    | PortIn
    | DscpIs
    | MarkIs
    | BucketBelow
    | PacketsAtLeast
)


@frozen
class Offload:
    """`flow add` to the table's flowtable."""


@frozen
class Leave:
    """Stop reading this table's rules for the packet (nft `return`), and why.

    `section` is the section of the configuration that wants it, as people call it.
    """

    why: Why = Why.EXCLUDED
    section: str = ""


Action = Offload | Leave


@frozen
class Rule:
    matches: tuple[Match, ...]
    action: Action

    @property
    def seed(self) -> int | None:
        """The seed of a rule that draws the arms; None for any other."""
        return next((m.seed for m in self.matches if isinstance(m, BucketBelow)), None)


@frozen
class Table:
    """One `table inet NAME` with a flowtable, a set of interface names and a forward chain.

    `devices` are hooked by the flowtable; `forward_names` are the elements of the set
    that `DevicesOutside` looks up, and `hosts` the addresses that `HostOutside` does (only a
    hardware table has those sets). Empty `rules` mean: take no new flows.
    """

    name: str
    priority: int
    hardware: bool
    devices: tuple[str, ...]
    forward_names: tuple[str, ...]
    rules: tuple[Rule, ...]
    hosts: tuple[str, ...] = ()


@frozen
class Plan:
    """The tables that should exist; any other flowguard table should not."""

    hardware: Table | None
    software: Table | None
