# SPDX-License-Identifier: GPL-2.0-or-later
"""nf_tables: batches that are made as a whole or not at all, and drivers bound meanwhile.

In the order of the kernel: one transaction at a time behind one mutex; devices are bound
while it is prepared; readers see the state before until it is committed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from flowguard.core.records import mutable, replace
from flowguard.core.tables.description import (
    HARDWARE_TABLE,
    SOFTWARE_TABLE,
    Plan,
    Rule,
    Table,
)
from flowguard.kernel.nftables import changes as asked
from flowguard.kernel.nftables.changes import Change
from flowguard.kernel.nftables.ruleset import (
    ForeignFlowtable,
    TablesState,
    TableState,
    wanted_state,
)
from tests.simulator.machine.netdevs import Netdevs


class Refused(Exception):
    def __init__(self, change: Change | None, number: int) -> None:
        super().__init__(f"{change}: {errno.errorcode[number]}")
        self.change = change
        self.errno = number


@mutable
class HeldTable:
    """A table of ours as the kernel holds it; `foreign_rules` somebody else has added.

    `identity` tells it from one of the same name that is made later.
    """

    name: str
    priority: int
    hardware: bool
    devices: tuple[str, ...]
    forward_names: tuple[str, ...]
    rules: tuple[Rule, ...]
    hosts: tuple[str, ...]
    identity: int
    foreign_rules: int = 0

    def copy(self) -> HeldTable:
        return HeldTable(
            self.name,
            self.priority,
            self.hardware,
            self.devices,
            self.forward_names,
            self.rules,
            self.hosts,
            self.identity,
            self.foreign_rules,
        )

    def state(self) -> TableState:
        table = Table(
            self.name,
            self.priority,
            self.hardware,
            self.devices,
            self.forward_names,
            self.rules,
            self.hosts,
        )
        held = wanted_state(Plan(hardware=table, software=None)).hardware
        assert held
        if not self.foreign_rules:
            return held
        rules = (*held.rules, *("",) * self.foreign_rules)
        return replace(held, rules=rules)


Tables = dict[str, HeldTable]
Heard = Callable[[str], None]


class Ruleset:
    """`refuses` is an errno for every flowtable (a kernel without nft_flow_offload)."""

    def __init__(self, netdevs: Netdevs) -> None:
        self.generation = 1
        self.tables: Tables = {}
        self.foreign: dict[str, ForeignFlowtable] = {}
        self.refuses: int | None = None
        self._netdevs = netdevs
        self._identities = 0

    @property
    def hardware(self) -> HeldTable | None:
        return self.tables.get(HARDWARE_TABLE)

    @property
    def software(self) -> HeldTable | None:
        return self.tables.get(SOFTWARE_TABLE)

    def state(self) -> TablesState:
        hardware, software = self.hardware, self.software
        return TablesState(
            hardware.state() if hardware else None,
            software.state() if software else None,
        )

    def prepared(self, changes: Sequence[Change]) -> Tables:
        """What the tables would be; raises Refused and leaves everything as it is."""
        tables = {name: table.copy() for name, table in self.tables.items()}
        for change in changes:
            number = self._make(tables, change)
            if number:
                raise Refused(change, number)
        return tables

    def take(self, tables: Tables) -> None:
        """Commit what was prepared."""
        self.tables = tables
        self.generation += 1

    def forget_device(self, name: str) -> None:
        """A device that is unregistered is unhooked by the kernel."""
        for table in self.tables.values():
            table.devices = tuple(d for d in table.devices if d != name)

    def _make(self, tables: Tables, change: Change) -> int:
        match change:
            case asked.CreateTable(table):
                return self._create(tables, table)
            case asked.TryFlowtable(device, hardware):
                return self._hooks((device,), hardware, frozenset())
        table_ = tables.get(_name_of(change))
        if table_ is None:
            return errno.ENOENT
        match change:
            case asked.DeleteTable():
                del tables[table_.name]
            case asked.AddDevices(devices=devices):
                if change.priority != table_.priority or change.hardware != table_.hardware:
                    return errno.EOPNOTSUPP
                if number := self._hooks(devices, change.hardware, frozenset(table_.devices)):
                    return number
                table_.devices = tuple(sorted((*table_.devices, *devices)))
            case asked.RemoveDevices(devices=devices):
                if not set(devices) <= set(table_.devices):
                    return errno.ENOENT
                table_.devices = tuple(d for d in table_.devices if d not in devices)
            case asked.AddNames(names=names):
                table_.forward_names = tuple(sorted({*table_.forward_names, *names}))
            case asked.RemoveNames(names=names):
                if not set(names) <= set(table_.forward_names):
                    return errno.ENOENT
                table_.forward_names = tuple(n for n in table_.forward_names if n not in names)
            case asked.AddHosts(hosts=hosts):
                table_.hosts = tuple(sorted({*table_.hosts, *hosts}))
            case asked.RemoveHosts(hosts=hosts):
                if not set(hosts) <= set(table_.hosts):
                    return errno.ENOENT
                table_.hosts = tuple(h for h in table_.hosts if h not in hosts)
            case asked.DropRules():
                table_.rules, table_.foreign_rules = (), 0
            case asked.AddRules(rules=rules):
                table_.rules += rules
        return 0

    def _create(self, tables: Tables, table: Table) -> int:
        if table.name in tables:
            return errno.EEXIST
        if number := self._hooks(table.devices, table.hardware, frozenset()):
            return number
        self._identities += 1
        tables[table.name] = HeldTable(
            table.name,
            table.priority,
            table.hardware,
            tuple(sorted(table.devices)),
            tuple(sorted(table.forward_names)),
            table.rules,
            tuple(sorted(table.hosts)),
            self._identities,
        )
        return 0

    def _hooks(self, devices: Sequence[str], hardware: bool, hooked: frozenset[str]) -> int:
        if self.refuses:
            return self.refuses
        if len(set(devices)) != len(devices) or hooked & set(devices):
            return errno.EEXIST
        for name in devices:
            netdev = self._netdevs.by_name.get(name)
            if netdev is None:
                return errno.ENOENT
            if hardware and not netdev.takes_flows:
                return errno.EOPNOTSUPP
        return 0


def _name_of(change: Change) -> str:
    match change:
        case asked.DeleteTable(name):
            return name
        case asked.CreateTable() | asked.TryFlowtable():
            return ""
        case _:
            return change.table
