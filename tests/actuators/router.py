# SPDX-License-Identifier: GPL-2.0-or-later
"""A router in memory that offloads: its tables can be changed, and flows leave them in time."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Mapping, Sequence

from flowguard.core.model import Device, FlowTuple
from flowguard.core.records import replace
from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE, Plan
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry, Filter, Flow
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.kernel.machine import Ended
from flowguard.kernel.nftables.changes import (
    AddDevices,
    AddHosts,
    AddNames,
    AddRules,
    Change,
    CreateHostSets,
    CreateTable,
    DeleteTable,
    DropRules,
    NftablesError,
    Refusal,
    RemoveDevices,
    RemoveHosts,
    RemoveNames,
)
from flowguard.kernel.nftables.ruleset import TablesState, TableState, comment_of, wanted_state
from tests.sensors.machine import ConnectionTable, Disk, Parts, Ruleset, Switches
from tests.virtual_time import now

TIMEOUTS = ("net/netfilter/nf_flowtable_tcp_timeout", "net/netfilter/nf_flowtable_udp_timeout")
SEEN_REPLY, ASSURED = 1 << 1, 1 << 2
PARTS = {HARDWARE_TABLE: "hardware", SOFTWARE_TABLE: "software"}
LAN, WAN = "lan1", "wan"


class ChangingTables(Ruleset):
    """nf_tables; while `works` is cleared, the kernel is at a change and does not come to its end.

    `begun` are the commits that the kernel was asked for, `made` those that it has made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.works = asyncio.Event()
        self.works.set()
        self.begun: list[tuple[Change, ...]] = []
        self.made: list[tuple[Change, ...]] = []

    async def commit(self, changes: Sequence[Change]) -> None:
        # Whoever stops waiting does not stop the kernel.
        await asyncio.shield(asyncio.create_task(self._make(tuple(changes))))

    async def _make(self, changes: tuple[Change, ...]) -> None:
        self.begun.append(changes)
        await self.works.wait()
        state = self.state
        for change in changes:
            self.refuse(change)
            state = made(state, change)
        self.state = state
        self.made.append(changes)


def refused(change: Change, number: int) -> NftablesError:
    return NftablesError([Refusal(change, number)])


def made(state: TablesState, change: Change) -> TablesState:
    """What is there after this change."""
    if isinstance(change, CreateTable):
        part = PARTS[change.table.name]
        if getattr(state, part):
            raise refused(change, errno.EEXIST)
        new = getattr(wanted_state(Plan(change.table, change.table)), part)
        return replace(state, **{part: new})
    name = change.name if isinstance(change, DeleteTable) else getattr(change, "table", "")
    part = PARTS[name]
    table: TableState | None = getattr(state, part)
    if table is None:
        raise refused(change, errno.ENOENT)
    return replace(state, **{part: _changed(table, change)})


def _changed(table: TableState, change: Change) -> TableState | None:
    match change:
        case AddDevices(devices=names):
            return replace(table, devices=tuple(sorted({*table.devices, *names})))
        case RemoveDevices(devices=names):
            return replace(table, devices=tuple(sorted({*table.devices} - {*names})))
        case AddNames(names=names):
            return replace(table, forward_names=tuple(sorted({*table.forward_names, *names})))
        case RemoveNames(names=names):
            return replace(table, forward_names=tuple(sorted({*table.forward_names} - {*names})))
        case CreateHostSets():
            return replace(table, hosts=())
        case AddHosts(hosts=hosts):
            return replace(table, hosts=tuple(sorted({*(table.hosts or ()), *hosts})))
        case RemoveHosts(hosts=hosts):
            return replace(table, hosts=tuple(sorted({*(table.hosts or ())} - {*hosts})))
        case DropRules():
            return replace(table, rules=())
        case AddRules(rules=rules):
            return replace(table, rules=(*table.rules, *map(comment_of, rules)))
        case DeleteTable():
            return None
    raise AssertionError(change)


class Timeouts(Switches):
    """Sysctls; `zero_since` is since when flows leave at once."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(TIMEOUTS, 30))
        self.zero_since: float | None = None
        self.zeroed = 0

    def set(self, name: str, value: int) -> None:
        super().set(name, value)
        if name == TIMEOUTS[0]:
            self.zeroed += value == 0
            self.zero_since = now() if value == 0 else None

    @property
    def flow_timeouts(self) -> list[int]:
        return [self.values[name] for name in TIMEOUTS]


class OffloadedFlows(ConnectionTable):
    """Connections; those in hardware leave it `leave_after` seconds of timeout 0, None: never."""

    def __init__(self, timeouts: Timeouts) -> None:
        super().__init__()
        self.leave_after: float | None = 5.0
        self.collections: list[list[int]] = []
        """What was in a flowtable still, each time that the kernel was asked to collect."""
        self.collection_error: OSError | None = None
        self.collection_hangs = False
        self._timeouts = timeouts

    def offload(self, count: int) -> None:
        self.entries = [hardware_flow(number) for number in range(1, count + 1)]

    async def sweep(self, wanted: Filter) -> AsyncGenerator[list[Entry], None]:
        since = self._timeouts.zero_since
        leave_after = self.leave_after
        if leave_after is not None and since is not None and now() - since >= leave_after:
            left = SEEN_REPLY | ASSURED
            self.entries = [entry._replace(status=left) for entry in self.entries]
        async for batch in super().sweep(wanted):
            yield batch

    async def renew(self, entries: Sequence[Entry]) -> None:
        out = {e.id for e in entries}
        left = SEEN_REPLY | ASSURED
        self.entries = [e._replace(status=left) if e.id in out else e for e in self.entries]

    async def collect(self) -> None:
        self.collections.append([e.id for e in self.entries if e.status & OFFLOAD])
        if self.collection_error:
            raise self.collection_error
        if self.collection_hangs:
            await asyncio.Event().wait()

    async def delete(self, flows: Sequence[Flow]) -> None:
        gone = {flow.original for flow in flows}
        self.entries = [e for e in self.entries if e.flow().original not in gone]


def hardware_flow(number: int) -> Entry:
    one = FlowTuple("tcp", "192.168.1.2", "203.0.113.1", 1000 + number, 443)
    other = FlowTuple("tcp", "203.0.113.1", "203.0.113.2", 443, 1000 + number)
    key, reply_key = (encode_tuple(kind, t)[1][4:] for kind, t in ((1, one), (2, other)))
    status = SEEN_REPLY | ASSURED | OFFLOAD | HW_OFFLOAD
    return Entry(number, status, 0, 6, 4, 400, 3, 300, True, None, None, key, reply_key)


class Flash(Disk):
    """Files; while `works` is cleared, what is to be kept is not on the medium.

    There is no room left `full_below` this folder.
    """

    def __init__(self) -> None:
        super().__init__()
        self.works = asyncio.Event()
        self.works.set()
        self.full_below = "nothing"

    def replace(self, path: str, text: str) -> None:
        if path.startswith(self.full_below):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        super().replace(path, text)

    async def keep(self, path: str, text: str) -> None:
        await self.works.wait()
        await super().keep(path, text)


class NoPrograms:
    """Every program ends well at once; `ran` says which."""

    def __init__(self) -> None:
        self.ran: list[dict[str, str]] = []

    async def run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        seconds: float,
        most: int,
    ) -> Ended:
        self.ran.append(dict(environment or {}))
        return Ended(0, b"")


class Router(Parts):
    """It has two devices that can offload in hardware."""

    def __init__(self) -> None:
        timeouts = Timeouts()
        flows = OffloadedFlows(timeouts)
        super().__init__(connections=flows)
        self.flows = flows
        self.timeouts = timeouts
        self.ruleset = ChangingTables()
        self.flash = Flash()
        self.programs = NoPrograms()
        for number, name in enumerate((LAN, WAN), 2):
            self.network.devices[name] = Device(name, number, driver="labdriver")
            self.network.features[name] = True
            self.network.codes[name] = ""
        self.machine = replace(
            self.machine,
            sysctls=timeouts,
            tables=self.ruleset,
            files=self.flash,
            programs=self.programs,
        )

    @property
    def hardware(self) -> TableState | None:
        return self.ruleset.state.hardware

    @property
    def software(self) -> TableState | None:
        return self.ruleset.state.software
