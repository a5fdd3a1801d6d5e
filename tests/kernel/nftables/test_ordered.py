# SPDX-License-Identifier: GPL-2.0-or-later
"""No look overtakes a change that the kernel is still at, whoever has stopped waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.tables.description import HARDWARE_TABLE
from flowguard.kernel.nftables.changes import Change, DeleteTable, NftablesError, Refusal
from flowguard.kernel.nftables.ordered import OrderedTables
from flowguard.kernel.nftables.ruleset import TablesState
from tests import virtual_time
from tests.sensors.machine import Ruleset
from tests.virtual_time import now

CHANGE = DeleteTable(HARDWARE_TABLE)


class SlowTables(Ruleset):
    """Every commit waits for `may`; `calls` says what the kernel was asked for, in this order."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()
        self.calls: list[str] = []

    async def read(self) -> TablesState:
        self.calls.append("read")
        return await super().read()

    async def commit(self, changes: Sequence[Change]) -> None:
        self.calls.append("commit")
        await self.may.wait()
        self.calls.append("committed")

    async def dry_run(self, changes: Sequence[Change]) -> None:
        self.calls.append("dry run")


Use = Callable[[SlowTables, OrderedTables], Awaitable[None]]


def with_tables(use: Use) -> None:
    async def run() -> None:
        tables = SlowTables()
        await use(tables, OrderedTables(tables, now))

    virtual_time.run(run())


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def test_a_look_waits_for_a_change_that_nobody_waits_for_any_more() -> None:
    async def use(tables: SlowTables, ordered: OrderedTables) -> None:
        change = asyncio.create_task(ordered.commit([CHANGE]))
        await asyncio.sleep(1)
        await cancelled(change)
        look = asyncio.create_task(ordered.read())
        await asyncio.sleep(100)
        assert tables.calls == ["commit"] and not look.done()
        tables.may.set()
        await look
        assert tables.calls == ["commit", "committed", "read"]

    with_tables(use)


def test_who_stops_waiting_before_his_turn_is_never_served() -> None:
    async def use(tables: SlowTables, ordered: OrderedTables) -> None:
        first = asyncio.create_task(ordered.commit([CHANGE]))
        second = asyncio.create_task(ordered.dry_run([CHANGE]))
        await asyncio.sleep(1)
        await cancelled(second)
        tables.may.set()
        await first
        await ordered.read()
        await asyncio.sleep(1)
        assert tables.calls == ["commit", "committed", "read"]

    with_tables(use)


def test_busy_is_since_when_the_kernel_has_been_at_it() -> None:
    async def use(tables: SlowTables, ordered: OrderedTables) -> None:
        assert ordered.busy_since is None
        await asyncio.sleep(7)
        change = asyncio.create_task(ordered.commit([CHANGE]))
        await asyncio.sleep(5)
        await cancelled(change)
        look = asyncio.create_task(ordered.read())
        await asyncio.sleep(5)
        assert ordered.busy_since == 7
        tables.may.set()
        await look
        assert ordered.busy_since is None

    with_tables(use)


def test_a_refusal_goes_to_who_asked_and_the_next_one_has_his_turn() -> None:
    async def use(tables: SlowTables, ordered: OrderedTables) -> None:
        def refuse(change: Change) -> None:
            raise NftablesError([Refusal(change, 95)])

        ruleset = Ruleset()
        ruleset.refuse = refuse
        ordered = OrderedTables(ruleset, now)
        with pytest.raises(NftablesError):
            await ordered.dry_run([CHANGE])
        assert ordered.busy_since is None
        assert await ordered.read() == ruleset.state

    with_tables(use)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8))
def test_everybody_is_served_in_the_order_of_asking(askers: list[tuple[bool, bool]]) -> None:
    """Of each: does he change something, and does he stop waiting?"""

    async def use(tables: SlowTables, ordered: OrderedTables) -> None:
        tasks: list[asyncio.Task[object]] = []
        for changes, _ in askers:
            call = ordered.commit([CHANGE]) if changes else ordered.read()
            tasks.append(asyncio.create_task(call))
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        was_done = [task.done() for task in tasks]
        first = next((i for i, (changes, _) in enumerate(askers) if changes), len(askers))
        for task, (_, gives_up) in zip(tasks, askers, strict=True):
            if gives_up:
                task.cancel()
        await asyncio.sleep(1)
        tables.may.set()
        await asyncio.gather(*tasks, ordered.read(), return_exceptions=True)
        served = [
            changes
            for index, (changes, gives_up) in enumerate(askers)
            if index <= first or not gives_up
        ]
        assert was_done == [index < first for index in range(len(askers))]
        expected = [c for changes in served for c in (CHANGED if changes else ["read"])]
        assert tables.calls == [*expected, "read"]

    with_tables(use)


CHANGED = ["commit", "committed"]
