# SPDX-License-Identifier: GPL-2.0-or-later
"""One thing at a time with nf_tables: no look overtakes a change that is still being made.

Whoever stops waiting for a change does not stop the kernel: with a slow or stuck driver it may
come to be much later. A look that did not wait for it would see what was before, and take that
for the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from flowguard.kernel.machine import Failed, Tables, Watch
from flowguard.kernel.nftables.changes import Change
from flowguard.kernel.nftables.ruleset import ForeignFlowtable, TablesState

T = TypeVar("T")


class OrderedTables:
    """The same as the tables it is given, each call in its turn.

    `busy_since` is when the call under way began (`now`); None while there is none.
    """

    def __init__(self, tables: Tables, now: Callable[[], float]) -> None:
        self.busy_since: float | None = None
        self._tables = tables
        self._now = now
        self._lock = asyncio.Lock()

    async def read(self) -> TablesState:
        return await self._in_turn(self._tables.read)

    async def foreign_flowtables(self) -> tuple[ForeignFlowtable, ...]:
        return await self._in_turn(self._tables.foreign_flowtables)

    async def commit(self, changes: Sequence[Change]) -> None:
        await self._in_turn(lambda: self._tables.commit(changes))

    async def dry_run(self, changes: Sequence[Change]) -> None:
        await self._in_turn(lambda: self._tables.dry_run(changes))

    def watch(self, touched: Callable[[], None], failed: Failed) -> Watch:
        return self._tables.watch(touched, failed)

    async def _in_turn(self, call: Callable[[], Awaitable[T]]) -> T:
        begun = False

        async def take_turn() -> T:
            nonlocal begun
            async with self._lock:
                begun, self.busy_since = True, self._now()
                try:
                    return await call()
                finally:
                    self.busy_since = None

        # A task of its own goes on to its end, whoever stops waiting for it.
        turn = asyncio.create_task(take_turn())
        turn.add_done_callback(_see)
        try:
            return await asyncio.shield(turn)
        except asyncio.CancelledError:
            if not begun:
                turn.cancel()
            raise


def _see(done: asyncio.Task[Any]) -> None:
    """Its failure is seen, also when whoever asked has gone."""
    if not done.cancelled():
        done.exception()
