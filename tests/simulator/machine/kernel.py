# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel of one router, in memory, from boot to boot."""

from __future__ import annotations

from collections.abc import Callable

from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE
from flowguard.kernel.nftables.changes import DeleteTable
from flowguard.kernel.nftables.ruleset import ForeignFlowtable
from flowguard.kernel.pstore import Dump
from tests.simulator.machine.conntrack import ConnectionTable
from tests.simulator.machine.disk import Disk
from tests.simulator.machine.engine import Engine
from tests.simulator.machine.flowtables import TIMEOUTS, Flowtables
from tests.simulator.machine.kernel_log import MemoryLog
from tests.simulator.machine.neighbourhood import Neighbourhood
from tests.simulator.machine.netdevs import Netdevs
from tests.simulator.machine.ruleset import Ruleset, Tables
from tests.simulator.machine.transactions import Transaction, Transactions
from tests.simulator.world import World

SYSCTLS = {
    **dict.fromkeys(TIMEOUTS.values(), 30),
    "net/netfilter/nf_conntrack_acct": 1,
    "net/netfilter/nf_conntrack_events": 2,
    "net/netfilter/nf_conntrack_count": 0,
    "kernel/tainted": 0,
}
Committed = Callable[[Transaction, Tables, Tables], None]
"""Hears of a transaction, the tables before it and after it."""
BOOTED_BEFORE = 12.0
"""Seconds of uptime when the first program of ours could run."""


class Kernel:
    """The parts are made anew at each boot; `disk` and the netdevs' hardware stay.

    `hear_tables` hears who deleted something of ours; `boots` counts.
    """

    def __init__(self, world: World, release: str = "6.12.40") -> None:
        self.world = world
        self.release = release
        self.disk = Disk(world.random("disk"))
        self.dumps: list[Dump] = []
        self.dumps_state = "ok"
        self.watchdog_reset: bool | None = None
        self.boots = 0
        self.hear_tables: list[Callable[[object], None]] = []
        self.commit_hooks: list[Committed] = []
        self.hanging_programs: set[str] = set()
        self.netdevs = Netdevs()
        self.neighbourhood = Neighbourhood()
        self.engine = Engine()
        self.boot()

    def boot(self) -> None:
        """Everything that lives in memory begins anew."""
        self.boots += 1
        self.boot_id = f"{self.world.seed:08x}-0000-4000-8000-{self.boots:012x}"
        self.booted = self.world.now - BOOTED_BEFORE
        self.log = MemoryLog(self.uptime)
        self.sysctls = dict(SYSCTLS)
        self.ruleset = Ruleset(self.netdevs)
        faults, entered, shown = self.engine.faults, self.engine.entered, self.engine.is_shown
        self.engine = Engine()
        self.engine.faults, self.engine.entered, self.engine.is_shown = faults, entered, shown
        self.connections = ConnectionTable(self.world)
        self.flowtables = Flowtables(
            self.world, self.ruleset, self.connections, self.engine, self.sysctls
        )
        if self.boots > 1:
            self.transactions.reset()
        self.transactions: Transactions = Transactions(
            self.world, self.ruleset, self.netdevs, self.flowtables
        )
        self.transactions.on_commit = self._committed
        self.hear_tables.clear()
        self.netdevs.changed.clear()
        self.neighbourhood.hear.clear()
        self.netdevs.gone[:] = [self._device_gone]

    def uptime(self) -> float:
        return self.world.now - self.booted

    def set_sysctl(self, name: str, value: int) -> None:
        former = self.sysctls.get(name)
        self.sysctls[name] = value
        if name in TIMEOUTS.values() and former != value:
            self.world.tell("sysctl: %s = %d", name, value)
            self.flowtables.timeouts_changed()

    def flush_ruleset(self, owner: object = "somebody") -> None:
        """`nft flush ruleset`: every table goes, in one transaction."""
        names = [n for n in (HARDWARE_TABLE, SOFTWARE_TABLE) if n in self.ruleset.tables]
        self.delete_tables(names, owner)

    def delete_tables(self, names: list[str], owner: object = "somebody") -> None:
        if names:
            self.transactions.submit(
                [DeleteTable(n) for n in names], owner, lambda refused: None, commits=True
            )

    def set_foreign(self, flowtable: ForeignFlowtable | None, table: str) -> None:
        """A flowtable of somebody else comes (or with None goes)."""
        if flowtable:
            self.ruleset.foreign[table] = flowtable
        else:
            self.ruleset.foreign.pop(table, None)
        self._tell_tables("somebody")

    def _committed(self, transaction: Transaction, after: Tables) -> None:
        before = self.ruleset.tables
        for hook in self.commit_hooks:
            hook(transaction, before, after)
        if any(
            name not in after or after[name].identity != t.identity for name, t in before.items()
        ):
            self._tell_tables(transaction.owner)

    def _tell_tables(self, owner: object) -> None:
        for hear in tuple(self.hear_tables):
            hear(owner)

    def _device_gone(self, name: str) -> None:
        self.flowtables.device_gone(name)
        if name not in self.netdevs.by_name:
            hooked = any(name in t.devices for t in self.ruleset.tables.values())
            self.ruleset.forget_device(name)
            if hooked:
                self._tell_tables("the kernel")
