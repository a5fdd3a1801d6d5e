# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be changed of our tables, as small, typed descriptions.

`kernel.nftables.messages` knows how the kernel spells them. Each says in words what it asks
for (`str`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from flowguard.core.records import frozen
from flowguard.core.tables.description import Rule, Table


@frozen
class CreateTable:
    """A whole table, with its flowtable, chain, set of names and rules; it must not exist."""

    table: Table

    def __str__(self) -> str:
        kind = "hardware" if self.table.hardware else "software"
        return f"{kind} flowtable on {', '.join(self.table.devices)}"


@frozen
class DeleteTable:
    name: str

    def __str__(self) -> str:
        return f"delete table {self.name}"


@frozen
class AddDevices:
    """Hook more devices of a table's flowtable."""

    table: str
    priority: int
    hardware: bool
    devices: tuple[str, ...]

    def __str__(self) -> str:
        kind = "hardware" if self.hardware else "software"
        return f"{kind} flowtable on {', '.join(self.devices)}"


@frozen
class RemoveDevices:
    """Unhook devices; the kernel tells their drivers nothing of flows that are still there."""

    table: str
    priority: int
    devices: tuple[str, ...]

    def __str__(self) -> str:
        return f"remove {', '.join(self.devices)} from the flowtable of table {self.table}"


@frozen
class AddNames:
    """More elements of the set that `DevicesOutside` looks up; it is made if it is missing."""

    table: str
    names: tuple[str, ...]
    makes_set: bool = False

    def __str__(self) -> str:
        return f"devices {', '.join(self.names)} in the set of table {self.table}"


@frozen
class RemoveNames:
    table: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"remove devices {', '.join(self.names)} from the set of table {self.table}"


@frozen
class CreateHostSets:
    """The sets of addresses that `HostOutside` looks up, empty; they must not exist."""

    table: str

    def __str__(self) -> str:
        return f"sets of hosts in table {self.table}"


@frozen
class AddHosts:
    """More elements of those sets, IPv4 and IPv6."""

    table: str
    hosts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.hosts)} hosts in the sets of table {self.table}"


@frozen
class RemoveHosts:
    table: str
    hosts: tuple[str, ...]

    def __str__(self) -> str:
        return f"remove {len(self.hosts)} hosts from the sets of table {self.table}"


@frozen
class DropRules:
    """All rules of a table's chain: it takes no new flows."""

    table: str

    def __str__(self) -> str:
        return f"delete the rules of table {self.table}"


@frozen
class AddRules:
    """At the end of a table's chain, in this order."""

    table: str
    rules: tuple[Rule, ...]

    def __str__(self) -> str:
        return f"rules of table {self.table}"


@frozen
class TryFlowtable:
    """A flowtable on one device alone, in a table of its own; for dry runs only."""

    device: str
    hardware: bool

    def __str__(self) -> str:
        return f"{'hardware' if self.hardware else 'software'} flowtable on {self.device}"


Change = (
    CreateTable
    | DeleteTable
    | AddDevices
    | RemoveDevices
    | AddNames
    | RemoveNames
    | CreateHostSets
    | AddHosts
    | RemoveHosts
    | DropRules
    | AddRules
    | TryFlowtable
)


def drivers_bound(change: Change) -> tuple[str, ...]:
    """The devices whose drivers the kernel binds for this change."""
    match change:
        case CreateTable(table) if table.hardware:
            return table.devices
        case AddDevices(hardware=True):
            return change.devices
        case TryFlowtable(hardware=True):
            return (change.device,)
    return ()


@frozen
class Refusal:
    """What the kernel refused, and why; no change: the transaction as a whole.

    `part` says in words which part of the change it was, where that is known.
    """

    change: Change | None
    errno: int
    part: str = ""

    def __str__(self) -> str:
        what = self.part or (str(self.change) if self.change else "nf_tables transaction")
        return f"{what}: {os.strerror(self.errno)}"


class NftablesError(Exception):
    """The kernel refused the transaction and kept everything as it was."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(map(str, refusals)))
        self.refusals = tuple(refusals)

    @property
    def errno(self) -> int:
        return self.refusals[0].errno
