# SPDX-License-Identifier: GPL-2.0-or-later
"""The mutex of nf_tables: transactions wait for each other, and all for a driver that is stuck."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from flowguard.core.records import mutable
from flowguard.kernel.nftables import changes as asked
from flowguard.kernel.nftables.changes import Change, drivers_bound
from tests.simulator.machine.flowtables import Flowtables
from tests.simulator.machine.netdevs import Netdevs
from tests.simulator.machine.ruleset import Refused, Ruleset, Tables
from tests.simulator.world import World

Done = Callable[[Refused | None], None]
STUCK_LOOK_SECONDS = 0.05


@mutable
class Transaction:
    """`owner` is whoever asked, so that others can be told; `commits` False for a dry run."""

    changes: tuple[Change, ...]
    commits: bool
    owner: object
    done: Done
    to_bind: list[str]


class Transactions:
    """`slowness` stretches the time that binding takes; `fails` are errnos for the next ones."""

    def __init__(
        self, world: World, ruleset: Ruleset, netdevs: Netdevs, flowtables: Flowtables
    ) -> None:
        self.slowness = 1.0
        self.fails: deque[int] = deque()
        self.last_refusal = self.last_commit = -math.inf
        self.binding: str | None = None
        self.on_commit: Callable[[Transaction, Tables], None] = lambda transaction, before: None
        self.on_bound: Callable[[str], None] = lambda device: None
        self._world = world
        self._ruleset = ruleset
        self._netdevs = netdevs
        self._flowtables = flowtables
        self._delays = world.random("transactions")
        self._waiting: deque[Transaction] = deque()
        self._running: Transaction | None = None

    @property
    def is_busy(self) -> bool:
        return self._running is not None

    @property
    def is_refusing(self) -> bool:
        """Whether nothing could be changed since it last refused something."""
        return self.last_refusal > self.last_commit

    def is_making(self, device: str) -> bool:
        """Whether a hardware table on this device is about to come."""
        running = self._running
        return (
            running is not None
            and running.commits
            and any(device in drivers_bound(change) for change in running.changes)
        )

    def submit(
        self, changes: Sequence[Change], owner: object, done: Done, *, commits: bool
    ) -> None:
        bound = [name for change in changes for name in _bound_or_unbound(change, self._ruleset)]
        self._waiting.append(Transaction(tuple(changes), commits, owner, done, bound))
        self._next()

    def _next(self) -> None:
        if self._running is None and self._waiting:
            self._running = self._waiting.popleft()
            self._world.after(self._delays.uniform(0.001, 0.01), self._work)

    def _work(self) -> None:
        """One driver after the other, then all of it or nothing."""
        transaction = self._running
        if transaction is None:
            return  # The machine has booted anew since.
        if transaction.to_bind:
            self.binding = name = transaction.to_bind[0]
            netdev = self._netdevs.by_name.get(name)
            if netdev and netdev.stuck:
                self._world.after(STUCK_LOOK_SECONDS, self._work)
                return
            self.on_bound(name)
            transaction.to_bind.pop(0)
            wait = self._delays.choice((0.002, 0.01, 0.04, 0.1, 0.3)) * self.slowness
            self._world.after(wait, self._work)
            return
        self.binding = None
        refused = self._finish(transaction)
        self._running = None
        if refused:
            self.last_refusal = self._world.now
        elif transaction.commits:
            self.last_commit = self._world.now
        transaction.done(refused)
        self._next()

    def _finish(self, transaction: Transaction) -> Refused | None:
        if self.fails and transaction.changes:
            return Refused(transaction.changes[0], self.fails.popleft())
        try:
            prepared = self._ruleset.prepared(transaction.changes)
        except Refused as refused:
            return refused
        if transaction.commits:
            before = self._ruleset.tables
            self.on_commit(transaction, prepared)
            self._ruleset.take(prepared)
            self._flowtables.committed(before)
            self._world.tell("nf_tables: %s", "; ".join(map(str, transaction.changes)))
        return None

    def reset(self) -> None:
        """The machine boots anew: nobody waits for anything."""
        self._waiting.clear()
        self._running = None


def _bound_or_unbound(change: Change, ruleset: Ruleset) -> tuple[str, ...]:
    """Unbinding takes the driver's time as well."""
    if isinstance(change, asked.DeleteTable | asked.RemoveDevices):
        name = change.name if isinstance(change, asked.DeleteTable) else change.table
        held = ruleset.tables.get(name)
        if held is None or not held.hardware:
            return ()
        return held.devices if isinstance(change, asked.DeleteTable) else change.devices
    return drivers_bound(change)
