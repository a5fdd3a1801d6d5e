# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that we run on.

Its parts open what they need when it is first asked for, so that one which this kernel does
not have raises OSError there and leaves the others alone.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from flowguard.core.tables.topology import Link
from flowguard.kernel import conntrack, engines, ethtool, kmsg, pstore, watchdog
from flowguard.kernel.clock import LinuxClock
from flowguard.kernel.conntrack import Entry, Filter, Flow
from flowguard.kernel.engines import EngineEntry
from flowguard.kernel.files import LinuxFiles
from flowguard.kernel.flow_collection import collect
from flowguard.kernel.machine import Failed, Machine, Watch
from flowguard.kernel.nftables import reading
from flowguard.kernel.nftables.changes import Change
from flowguard.kernel.nftables.ruleset import ForeignFlowtable, TablesState
from flowguard.kernel.nftables.transactions import Nftables
from flowguard.kernel.nftables.watch import TableWatch
from flowguard.kernel.programs import LinuxPrograms
from flowguard.kernel.pstore import Dumps
from flowguard.kernel.route import links, sightings
from flowguard.kernel.route.addresses import forwarding_interfaces
from flowguard.kernel.route.links import Links, LinkWatch
from flowguard.kernel.route.routes import RouteQuestions
from flowguard.kernel.route.sightings import Sighting
from flowguard.kernel.sysctls import LinuxSysctls
from flowguard.kernel.threads import in_thread

T = TypeVar("T")


def machine() -> Machine:
    """This machine, until the process ends; raises OSError where /proc is missing."""
    return _machine(LinuxTables(), LinuxNetwork())


@contextmanager
def opened() -> Iterator[Machine]:
    """The same for a while; what it opened is closed afterwards."""
    tables, network = LinuxTables(), LinuxNetwork()
    try:
        yield _machine(tables, network)
    finally:
        tables.close()
        network.close()


def _machine(tables: LinuxTables, network: LinuxNetwork) -> Machine:
    return Machine(
        release=os.uname().release,
        clock=LinuxClock(),
        files=LinuxFiles(),
        sysctls=LinuxSysctls(),
        tables=tables,
        connections=LinuxConnections(),
        network=network,
        kernel_log=LinuxKernelLog(),
        engines=LinuxEngines(),
        last_boot=LinuxLastBoot(),
        programs=LinuxPrograms(),
    )


class LinuxTables:
    """See `kernel.machine.Tables`."""

    def __init__(self) -> None:
        self._nftables: Nftables | None = None

    def close(self) -> None:
        if self._nftables:
            self._nftables.close()

    async def read(self) -> TablesState:
        return await self._in_thread(reading.read)

    async def foreign_flowtables(self) -> tuple[ForeignFlowtable, ...]:
        return await self._in_thread(reading.foreign_flowtables)

    async def commit(self, changes: Sequence[Change]) -> None:
        await self._open().commit(changes)

    async def dry_run(self, changes: Sequence[Change]) -> None:
        await self._open().dry_run(changes)

    def watch(self, touched: Callable[[], None], failed: Failed) -> Watch:
        return TableWatch(self._open().port, touched, failed)

    def _open(self) -> Nftables:
        if self._nftables is None:
            self._nftables = Nftables()
        return self._nftables

    async def _in_thread(self, read: Callable[[Nftables], T]) -> T:
        # Not of the common pool: whatever hangs there must not keep a step down waiting.
        nftables = self._open()
        return await in_thread(lambda: read(nftables), "read tables", _nothing)


def _nothing() -> None:
    """There is no lock to be let go."""


class LinuxConnections:
    """See `kernel.machine.Connections`."""

    def __init__(self) -> None:
        self._is_collecting = False

    def sweep(self, wanted: Filter) -> AsyncGenerator[list[Entry], None]:
        return conntrack.sweep(wanted)

    async def find(self, flows: Sequence[Flow]) -> list[Entry | None]:
        return await conntrack.find(flows)

    async def delete(self, flows: Sequence[Flow]) -> None:
        await conntrack.delete(flows)

    async def renew(self, entries: Sequence[Entry]) -> None:
        await conntrack.renew(entries)

    async def collect(self) -> None:
        if self._is_collecting:
            raise OSError(errno.EBUSY, "the kernel has not finished the collection before")
        self._is_collecting = True
        await in_thread(collect, "collect flows", self._collected)

    def _collected(self) -> None:
        self._is_collecting = False

    def listen(
        self,
        wanted: Filter,
        ended: Callable[[list[Entry]], None],
        lost: Callable[[], None],
        failed: Failed,
    ) -> Watch:
        return conntrack.DestroyEvents(wanted, ended, lost, failed)


class LinuxNetwork:
    """See `kernel.machine.Network`."""

    def __init__(self) -> None:
        self._routes: RouteQuestions | None = None

    def close(self) -> None:
        if self._routes:
            self._routes.close()

    def exists(self, device: str) -> bool:
        try:
            socket.if_nametoindex(device)
        except OSError:
            return False
        return True

    async def scan(self, names: Sequence[str], carriers: Mapping[str, str]) -> Links:
        # Hundreds of small files: half a second on a router with many devices.
        return await asyncio.to_thread(links.scan, names, carriers=carriers)

    async def links(self, carriers: Mapping[str, str]) -> tuple[Link, ...]:
        return await asyncio.to_thread(links.links, carriers=carriers)

    async def forwarding_interfaces(self) -> tuple[str, ...]:
        return await asyncio.to_thread(forwarding_interfaces)

    def device_of(self, address: str) -> str | None:
        if self._routes is None:
            self._routes = RouteQuestions()
        return self._routes.device_of(address)

    async def has_feature(self, device: str, feature: str) -> bool | None:
        # It waits for the kernel's lock of all links, which a driver's reset may hold for long.
        return await asyncio.to_thread(ethtool.has_feature, device, feature)

    async def code_of(self, device: str) -> str:
        return await asyncio.to_thread(ethtool.code_of, device)

    def watch(self, changed: Callable[[], None], failed: Failed) -> Watch:
        return LinkWatch(changed, failed)

    async def sightings(self) -> list[Sighting]:
        return await asyncio.to_thread(sightings.sightings)

    def watch_sightings(
        self,
        took: Callable[[list[Sighting]], None],
        lost: Callable[[], None],
        failed: Failed,
    ) -> Watch:
        return sightings.NeighbourWatch(took, lost, failed)


class LinuxKernelLog:
    """See `kernel.machine.KernelLog`."""

    def newest(self) -> int | None:
        return kmsg.newest()

    def follow(
        self, after: int | None, took: Callable[[list[bytes]], None], failed: Failed
    ) -> Watch:
        return kmsg.LogWatch(after, took, failed)

    async def recent(self, most: int) -> list[bytes]:
        # A full ring holds thousands of records.
        return await asyncio.to_thread(kmsg.recent, most)

    def netdev_of(self, device_id: str) -> str | None:
        return kmsg.netdev_of(device_id)


class LinuxEngines:
    """See `kernel.machine.Engines`."""

    def are_readable(self) -> bool:
        return engines.is_readable()

    def sweep(self, *, only_bound: bool) -> AsyncGenerator[list[EngineEntry], None]:
        return engines.sweep(only_bound=only_bound)


class LinuxLastBoot:
    """See `kernel.machine.LastBoot`."""

    def dumps(self) -> tuple[Dumps, str]:
        found = pstore.read()
        return found, pstore.told(found)

    def clear_dumps(self) -> tuple[str, ...]:
        return pstore.clear()

    def watchdog_reset(self) -> bool | None:
        return watchdog.caused_reset()
