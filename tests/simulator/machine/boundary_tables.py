# SPDX-License-Identifier: GPL-2.0-or-later
"""nf_tables as one program sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from flowguard.kernel.machine import Failed
from flowguard.kernel.nftables.changes import Change
from flowguard.kernel.nftables.ruleset import ForeignFlowtable, TablesState
from flowguard.kernel.nftables.transactions import NftablesError, Refusal
from tests.simulator.machine import costs
from tests.simulator.machine.kernel import Kernel
from tests.simulator.machine.ruleset import Refused
from tests.simulator.machine.watching import Called, Debounced, Watching, discard
from tests.simulator.process import Killed, Process


class BoundTables:
    def __init__(self, process: Process, kernel: Kernel) -> None:
        self._process = process
        self._kernel = kernel
        self._delays = kernel.world.random(f"nf_tables {process.name}")

    async def read(self) -> TablesState:
        await self._process.wait(self._delays.uniform(*costs.TABLES_READ))
        return self._kernel.ruleset.state()

    async def foreign_flowtables(self) -> tuple[ForeignFlowtable, ...]:
        await self._process.wait(self._delays.uniform(*costs.TABLES_READ))
        return tuple(self._kernel.ruleset.foreign.values())

    async def commit(self, changes: Sequence[Change]) -> None:
        await self._transact(changes, commits=True)

    async def dry_run(self, changes: Sequence[Change]) -> None:
        await self._transact(changes, commits=False)

    async def _transact(self, changes: Sequence[Change], *, commits: bool) -> None:
        """Whoever is cancelled here stops waiting, and the kernel goes on."""
        if self._process.dead:
            raise Killed
        result: asyncio.Future[Refused | None] = self._process.loop.create_future()

        def done(refused: Refused | None) -> None:
            if self._process.alive and not result.done():
                result.set_result(refused)

        self._kernel.transactions.submit(changes, self._process, done, commits=commits)
        refused = await result
        if refused:
            raise NftablesError([Refusal(refused.change, refused.errno)])

    def watch(self, touched: Called, failed: Failed) -> Watching:
        self._process.hold(costs.SYSCTL)
        debounced = Debounced(self._process, costs.TABLES_NEWS, touched)

        def hear(owner: object) -> None:
            if owner is not self._process:
                debounced()

        heard: list[Callable[[object], None]] = self._kernel.hear_tables
        heard.append(hear)
        return Watching(self._process, lambda: discard(heard, hear))
