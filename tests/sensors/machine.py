# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine in memory: of each part as much as the tests of the sensors need."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowguard.core.model import Device
from flowguard.core.tables.topology import Link
from flowguard.kernel.conntrack import DumpInterrupted, Entry, Filter, Flow
from flowguard.kernel.conntrack.entry import matching
from flowguard.kernel.engines import EngineEntry
from flowguard.kernel.machine import Failed, Machine
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.kernel.nftables.changes import Change
from flowguard.kernel.nftables.ruleset import ForeignFlowtable, TablesState
from flowguard.kernel.pstore import Dumps
from flowguard.kernel.route.links import Links
from flowguard.kernel.route.sightings import Sighting

BATCH = 100


class LoopClock:
    """The time of the running loop; outside of one it stands still at 0."""

    boot_id = "b007"

    def now(self) -> float:
        try:
            return round(asyncio.get_running_loop().time(), 3)
        except RuntimeError:
            return 0.0

    def wall_clock(self, moment: float) -> str:
        return f"{moment:g} s after boot"


@dataclass
class Disk:
    """Files; `full` refuses every write, `writes` counts those that came through."""

    texts: dict[str, str] = field(default_factory=dict)
    writes: int = 0
    full: bool = False
    broken: bool = False

    def read(self, path: str) -> str:
        if self.broken:
            raise OSError(errno.EIO, "Input/output error", path)
        if path not in self.texts:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return self.texts[path]

    def read_escaped(self, path: str) -> str:
        return self.read(path)

    def exists(self, path: str) -> bool:
        return path in self.texts

    def replace(self, path: str, text: str) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        self.texts[path] = text
        self.writes += 1

    async def keep(self, path: str, text: str) -> None:
        self.replace(path, text)

    def append(self, path: str, text: str) -> int:
        self.replace(path, self.texts.get(path, "") + text)
        return len(self.texts[path])

    def rename(self, path: str, to: str) -> None:
        self.texts[to] = self.texts.pop(path)

    def remove(self, path: str) -> None:
        self.texts.pop(path, None)


@dataclass
class Switches:
    """Sysctls."""

    values: dict[str, int] = field(default_factory=dict)

    def get(self, name: str) -> int | None:
        return self.values.get(name)

    def set(self, name: str, value: int) -> None:
        self.values[name] = value


class Listening:
    """One watch; it is heard until it is closed or has failed."""

    def __init__(self, failed: Failed, hear: Callable[..., None]) -> None:
        self.is_open = True
        self.hear = hear
        self._failed = failed

    def close(self) -> None:
        self.is_open = False

    def fail(self, why: str) -> None:
        self._failed(why)


class Watchable:
    """Something to listen to; `refusal` keeps it from being opened."""

    def __init__(self) -> None:
        self.refusal: OSError | None = None
        self.watches: list[Listening] = []

    def _open(self, failed: Failed, hear: Callable[..., None]) -> Listening:
        if self.refusal:
            raise self.refusal
        self.watches.append(Listening(failed, hear))
        return self.watches[-1]

    @property
    def listening(self) -> list[Listening]:
        return [watch for watch in self.watches if watch.is_open]

    def happens(self, *what: Any) -> None:
        for watch in self.listening:
            watch.hear(*what)

    def break_down(self, why: str) -> None:
        for watch in self.listening:
            watch.fail(why)


class Ruleset(Watchable):
    """nf_tables; a `refuse` that raises answers for the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.state = TablesState(None, None)
        self.foreign: tuple[ForeignFlowtable, ...] = ()
        self.foreign_looks = 0
        self.unreadable: OSError | MalformedMessage | None = None
        self.tried: list[Change] = []
        self.refuse: Callable[[Change], None] = lambda change: None

    async def read(self) -> TablesState:
        if self.unreadable:
            raise self.unreadable
        return self.state

    async def foreign_flowtables(self) -> tuple[ForeignFlowtable, ...]:
        self.foreign_looks += 1
        await asyncio.sleep(0)
        if self.unreadable:
            raise self.unreadable
        return self.foreign

    async def commit(self, changes: Sequence[Change]) -> None:
        raise AssertionError("no sensor changes anything")

    async def dry_run(self, changes: Sequence[Change]) -> None:
        self.tried += changes
        for change in changes:
            self.refuse(change)

    def watch(self, touched: Callable[[], None], failed: Failed) -> Listening:
        return self._open(failed, touched)


class ConnectionTable(Watchable):
    """Connections; `failures` are raised by the sweeps to come, one each."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.failures: list[Exception] = []
        self.always: Exception | None = None
        self.sweeps: list[Filter] = []
        self.filters: list[Filter] = []
        self.hangs = False
        self.seconds = 0.0  # that a walk over the table takes
        self.midway: Callable[[], None] = lambda: None  # In each walk, after its first batch.

    async def sweep(self, wanted: Filter) -> AsyncGenerator[list[Entry], None]:
        self.sweeps.append(wanted)
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        failure = self.failures.pop(0) if self.failures else self.always
        await asyncio.sleep(self.seconds)
        found = matching(self.entries, wanted)
        if failure:
            yield found[: len(found) // 2]
            raise failure
        for first in range(0, len(found), BATCH):
            yield found[first : first + BATCH]
            await asyncio.sleep(0)
            if not first:
                self.midway()

    def interrupt(self, times: int) -> None:
        self.failures += [DumpInterrupted() for _ in range(times)]

    async def find(self, flows: Sequence[Flow]) -> list[Entry | None]:
        known = {entry.flow().original: entry for entry in self.entries}
        return [known.get(flow.original) for flow in flows]

    async def delete(self, flows: Sequence[Flow]) -> None:
        raise AssertionError("no sensor deletes anything")

    async def renew(self, entries: Sequence[Entry]) -> None:
        raise AssertionError("no sensor renews anything")

    async def collect(self) -> None:
        raise AssertionError("no sensor has anything collected")

    def listen(
        self,
        wanted: Filter,
        ended: Callable[[list[Entry]], None],
        lost: Callable[[], None],
        failed: Failed,
    ) -> Listening:
        def hear(entries: list[Entry]) -> None:
            if found := matching(entries, wanted):
                ended(found)

        opened = self._open(failed, hear)
        self.filters.append(wanted)
        return opened

    def end(self, *numbers: int, **changes: Any) -> None:
        """These connections end, and whoever listens hears of it."""
        ended = [e._replace(**changes) for e in self.entries if e.id in numbers]
        self.entries = [e for e in self.entries if e.id not in numbers]
        self.happens(ended)


class Net(Watchable):
    """Links and routes."""

    def __init__(self) -> None:
        super().__init__()
        self.devices: dict[str, Device] = {}
        self.present: dict[str, Link] = {}
        self.forwarding: tuple[str, ...] | OSError = ()
        self.routes: dict[str, str | OSError | None] = {}
        self.asked: list[str] = []
        self.features: dict[str, bool | None] = {}
        self.codes: dict[str, str] = {}
        self.carriers: list[Mapping[str, str]] = []
        self.neighbourhood = Neighbourhood()

    def exists(self, device: str) -> bool:
        return device in self.devices

    def add(self, link: Link, feature: bool | None = True) -> None:
        self.present[link.name] = link
        self.devices[link.name] = Device(link.name, len(self.devices) + 1)
        self.features[link.name] = feature

    def remove(self, name: str) -> None:
        del self.present[name], self.devices[name]

    async def scan(self, names: Sequence[str], carriers: Mapping[str, str]) -> Links:
        self.carriers.append(carriers)
        found = tuple(self.devices[name] for name in names if name in self.devices)
        return Links(found, tuple(name for name in names if name not in self.devices))

    async def links(self, carriers: Mapping[str, str]) -> tuple[Link, ...]:
        self.carriers.append(carriers)
        return tuple(self.present.values())

    async def forwarding_interfaces(self) -> tuple[str, ...]:
        if isinstance(self.forwarding, OSError):
            raise self.forwarding
        return self.forwarding

    def device_of(self, address: str) -> str | None:
        self.asked.append(address)
        found = self.routes.get(address)
        if isinstance(found, OSError):
            raise found
        return found

    async def has_feature(self, device: str, feature: str) -> bool | None:
        return self.features.get(device)

    async def code_of(self, device: str) -> str:
        if device not in self.codes:
            raise OSError(errno.ENODEV, "No such device")
        return self.codes[device]

    def watch(self, changed: Callable[[], None], failed: Failed) -> Listening:
        return self._open(failed, changed)

    async def sightings(self) -> list[Sighting]:
        return await self.neighbourhood.answer()

    def watch_sightings(
        self, took: Callable[[list[Sighting]], None], lost: Callable[[], None], failed: Failed
    ) -> Listening:
        return self.neighbourhood.listen(took, lost, failed)


class Neighbourhood(Watchable):
    """What bridges and neighbours tell; `slow` seconds pass before a look is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.present: list[Sighting] = []
        self.looks = 0
        self.slow = 0.0

    async def answer(self) -> list[Sighting]:
        self.looks += 1
        found = [*self.present]
        await asyncio.sleep(self.slow)
        return found

    def listen(
        self, took: Callable[[list[Sighting]], None], lost: Callable[[], None], failed: Failed
    ) -> Listening:
        def hear(*sightings: Sighting) -> None:
            if sightings:
                took([*sightings])
            else:
                lost()

        return self._open(failed, hear)


class Ring(Watchable):
    """The kernel's log: every watch hears what was written after its number."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[int, bytes]] = []
        self.netdevs: dict[str, str] = {}
        self.followed: list[int | None] = []

    def newest(self) -> int | None:
        if self.refusal:
            raise self.refusal
        return self.records[-1][0] if self.records else None

    def write(
        self, *texts: str, sequence: int | None = None, rest: str = "", caller: str = ""
    ) -> None:
        """Records one after the other, heard together; `caller` is the task that wrote them."""
        source = f",caller={caller}" if caller else ""
        batch = []
        for text in texts:
            number = (self.newest_number() + 1) if sequence is None else sequence
            data = f"3,{number},{number * 2_000_000},-{source};{text}\n{rest}".encode()
            self.records.append((number, data))
            batch.append(data)
        self.happens(batch)

    def newest_number(self) -> int:
        return self.records[-1][0] if self.records else 0

    def follow(
        self, after: int | None, took: Callable[[list[bytes]], None], failed: Failed
    ) -> Listening:
        watch = self._open(failed, took)
        self.followed.append(after)
        missed = [data for number, data in self.records if after is not None and number > after]
        if missed:

            def catch_up() -> None:
                if watch.is_open:
                    took(missed)

            asyncio.get_running_loop().call_soon(catch_up)
        return watch

    async def recent(self, most: int) -> list[bytes]:
        if self.refusal:
            raise self.refusal
        return [data for _, data in self.records[-most:]]

    def netdev_of(self, device_id: str) -> str | None:
        return self.netdevs.get(device_id)


class PacketEngines:
    """Engines; None: there is none to look into."""

    def __init__(self) -> None:
        self.entries: list[EngineEntry] | None = None
        self.failure: OSError | None = None
        self.hangs = False
        self.sweeps = 0

    def are_readable(self) -> bool:
        return self.entries is not None

    async def sweep(self, *, only_bound: bool) -> AsyncGenerator[list[EngineEntry], None]:
        self.sweeps += 1
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.failure:
            raise self.failure
        found = [e for e in self.entries or [] if e.bound or not only_bound]
        for first in range(0, len(found), BATCH):
            yield found[first : first + BATCH]


@dataclass
class Traces:
    """What the boot before left."""

    left: Dumps = field(default_factory=lambda: Dumps((), ()))
    state: str = "not available: no pstore here"
    reset: bool | None = None

    def dumps(self) -> tuple[Dumps, str]:
        return self.left, self.state

    def clear_dumps(self) -> tuple[str, ...]:
        self.left = Dumps((), ())
        return ()

    def watchdog_reset(self) -> bool | None:
        return self.reset


class Parts:
    """The parts by their own types, for the test, and the `machine` made of them."""

    def __init__(self, release: str = "6.12.0", connections: ConnectionTable | None = None) -> None:
        self.clock = LoopClock()
        self.files = Disk()
        self.sysctls = Switches()
        self.tables = Ruleset()
        self.connections = connections or ConnectionTable()
        self.network = Net()
        self.kernel_log = Ring()
        self.engines = PacketEngines()
        self.last_boot = Traces()
        programs: Any = None  # No sensor runs any.
        self.machine = Machine(
            release,
            self.clock,
            self.files,
            self.sysctls,
            self.tables,
            self.connections,
            self.network,
            self.kernel_log,
            self.engines,
            self.last_boot,
            programs,
        )
