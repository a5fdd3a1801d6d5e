# SPDX-License-Identifier: GPL-2.0-or-later
"""Connection tracking and engines as one program sees them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from itertools import islice

from flowguard.kernel.conntrack import DumpInterrupted, Entry, Filter, Flow
from flowguard.kernel.engines import EngineEntry
from flowguard.kernel.machine import Failed
from tests.simulator.machine import costs
from tests.simulator.machine.connection import Connection
from tests.simulator.machine.conntrack import EndListener, matches
from tests.simulator.machine.kernel import Kernel
from tests.simulator.machine.watching import Called, Watching, discard
from tests.simulator.process import Process

PART = 110
"""Connections that fit into one datagram of a dump."""
ENGINE_PART = 150


class BoundConnections:
    def __init__(self, process: Process, kernel: Kernel) -> None:
        self._process = process
        self._kernel = kernel
        self._table = kernel.connections
        self._delays = kernel.world.random(f"conntrack {process.name}")

    async def sweep(self, wanted: Filter) -> AsyncGenerator[list[Entry], None]:
        """A walk over the table while it goes on living."""
        ahead = list(self._table.by_id.values())
        while True:
            await self._process.wait(self._delays.uniform(*costs.SWEEP_PART))
            self._raise_error()
            if self._table.interrupts > 0:
                self._table.interrupts -= 1
                raise DumpInterrupted
            now = self._kernel.world.now
            part = list(islice(_found(ahead, wanted, now), PART))
            if part:
                self._process.hold(costs.ENTRY * len(part))
                yield part
            if not ahead:
                return

    async def find(self, flows: Sequence[Flow]) -> list[Entry | None]:
        await self._process.wait(self._delays.uniform(*costs.LOOK_UP))
        self._raise_error()
        now = self._kernel.world.now
        found = [self._table.by_flow.get(flow) for flow in flows]
        return [connection.entry(now) if connection else None for connection in found]

    async def delete(self, flows: Sequence[Flow]) -> None:
        await self._process.wait(self._delays.uniform(*costs.LOOK_UP))
        self._raise_error()
        self._table.delete(flows)

    async def renew(self, entries: Sequence[Entry]) -> None:
        await self._process.wait(self._delays.uniform(*costs.LOOK_UP))
        self._raise_error()
        for entry in entries:
            if connection := self._table.by_id.get(entry.id):
                self._kernel.flowtables.leave_soon(connection)

    async def collect(self) -> None:
        await self._process.wait(self._delays.uniform(*costs.LOOK_UP))
        self._kernel.flowtables.collect()

    def listen(
        self,
        wanted: Filter,
        ended: Callable[[list[Entry]], None],
        lost: Called,
        failed: Failed,
    ) -> Watching:
        self._process.hold(costs.SYSCTL)
        self._raise_error()
        process = self._process
        listener = EndListener(
            wanted,
            lambda entries: process.call(ended, entries),
            lambda: process.call(lost),
            lambda told: process.call(failed, told),
        )
        self._table.listeners.append(listener)
        return Watching(process, lambda: discard(self._table.listeners, listener))

    def _raise_error(self) -> None:
        if self._table.error:
            raise self._table.error


def _found(ahead: list[Connection], wanted: Filter, now: float) -> Iterator[Entry]:
    while ahead:
        connection = ahead.pop()
        if not connection.is_gone and matches(connection, wanted):
            yield connection.entry(now)


class BoundEngines:
    def __init__(self, process: Process, kernel: Kernel) -> None:
        self._process = process
        self._kernel = kernel
        self._delays = kernel.world.random(f"engine {process.name}")

    def are_readable(self) -> bool:
        self._process.hold(costs.FILE_READ)
        return self._kernel.engine.is_shown

    async def sweep(self, *, only_bound: bool) -> AsyncGenerator[list[EngineEntry], None]:
        await self._process.wait(self._delays.uniform(*costs.ENGINE_PART))
        entries = list(self._kernel.engine.entries(only_bound=only_bound))
        for start in range(0, len(entries), ENGINE_PART):
            part = entries[start : start + ENGINE_PART]
            self._process.hold(costs.ENTRY * len(part))
            yield part
            await self._process.wait(self._delays.uniform(*costs.SWEEP_PART))
