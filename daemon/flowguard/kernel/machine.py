# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine as the daemon sees it: all that it reads, changes and hears of the system.

`kernel.linux` is the real one. The simulator of the tests has another, in memory. So nothing
outside this room opens a socket, a file of the kernel or a process.

Unless something else is said, every call raises OSError for what the system refuses, and no
call holds the loop up: what may take long is awaited. Callbacks are called on the loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from flowguard.core.interface import Interface
from flowguard.core.records import frozen

if TYPE_CHECKING:  # Whoever only names a part of it loads none of these.
    from flowguard.core.tables.topology import Link
    from flowguard.kernel.conntrack import Entry, Filter, Flow
    from flowguard.kernel.engines import EngineEntry
    from flowguard.kernel.nftables.changes import Change
    from flowguard.kernel.nftables.ruleset import ForeignFlowtable, TablesState
    from flowguard.kernel.pstore import Dumps
    from flowguard.kernel.route.links import Links
    from flowguard.kernel.route.sightings import Sighting


class Watch(Interface):
    """Something that is listened to until it is closed."""

    def close(self) -> None: ...


Failed = Callable[[str], None]
"""Hears, once, why a watch ended by itself; closing it is still up to its owner."""


class Clock(Interface):
    boot_id: str

    def now(self) -> float:
        """Seconds since boot (CLOCK_MONOTONIC), rounded to milliseconds for the event log."""
        ...

    def wall_clock(self, moment: float) -> str:
        """A moment of that clock as local date and time, for people."""
        ...


class Files(Interface):
    """Small texts by path; whoever writes makes the folder as well, and only root may read."""

    def read(self, path: str) -> str:
        """FileNotFoundError when there is none; ValueError for what is no UTF-8."""
        ...

    def read_escaped(self, path: str) -> str:
        """The same, but what is no UTF-8 comes as surrogate escapes (PEP 383)."""
        ...

    def exists(self, path: str) -> bool: ...

    def replace(self, path: str, text: str) -> None:
        """The old or the new text, whatever happens; for tmpfs, where there is no waiting."""
        ...

    async def keep(self, path: str, text: str) -> None:
        """The same, and it returns when the text is on the medium for good: flash takes long."""
        ...

    def append(self, path: str, text: str) -> int:
        """The size of the file afterwards, in bytes."""
        ...

    def rename(self, path: str, to: str) -> None: ...

    def remove(self, path: str) -> None:
        """What does not exist is removed already."""
        ...


class Sysctls(Interface):
    def get(self, name: str) -> int | None:
        """The number in `net/netfilter/nf_conntrack_acct` and the like below /proc/sys.

        None when this kernel does not have it.
        """
        ...

    def set(self, name: str, value: int) -> None: ...


class Tables(Interface):
    """nf_tables."""

    async def read(self) -> TablesState:
        """Our tables, as one consistent view."""
        ...

    async def foreign_flowtables(self) -> tuple[ForeignFlowtable, ...]: ...

    async def commit(self, changes: Sequence[Change]) -> None:
        """Make all changes or none; NftablesError when the kernel refused.

        Binding a driver takes up to a third of a second, and for ever where it is stuck.
        Whoever stops waiting does not stop the kernel: the changes may still be made.
        """
        ...

    async def dry_run(self, changes: Sequence[Change]) -> None:
        """Let the kernel prepare and undo it all, as `nft --check` does; NftablesError."""
        ...

    def watch(self, touched: Callable[[], None], failed: Failed) -> Watch:
        """Hear (some 50 ms later) that somebody else deleted something of ours, or that a
        flowtable of somebody else came or went.
        """
        ...


class Connections(Interface):
    """The kernel's connection table; MalformedMessage for what is not of the known form."""

    def sweep(self, wanted: Filter) -> AsyncGenerator[list[Entry], None]:
        """The connections that match, some at a time.

        DumpInterrupted when the rest is not to be trusted.
        """
        ...

    async def find(self, flows: Sequence[Flow]) -> list[Entry | None]:
        """The connections that packets of these flows belong to now; None for who has none."""
        ...

    async def delete(self, flows: Sequence[Flow]) -> None:
        """Have the kernel forget these, as far as they still are."""
        ...

    async def renew(self, entries: Sequence[Entry]) -> None:
        """Take these out of the flowtables, as far as they still are; they go on.

        One that a helper follows stays where it is: it would lose the helper.
        """
        ...

    async def collect(self) -> None:
        """Have the kernel take out of the flowtables at once what has ended, and the drivers too.

        It does that once a second by itself. OSError where it cannot be asked to; a driver that
        is stuck holds this up for ever, and all changes of links as well, as every device that
        goes down does then.
        """
        ...

    def listen(
        self,
        wanted: Filter,
        ended: Callable[[list[Entry]], None],
        lost: Callable[[], None],
        failed: Failed,
    ) -> Watch:
        """Hear of the ends of connections that match; `lost`: some were not told."""
        ...


class Network(Interface):
    """Links, addresses, routes, and the drivers behind them."""

    def exists(self, device: str) -> bool: ...

    async def scan(self, names: Sequence[str], carriers: Mapping[str, str]) -> Links: ...

    async def links(self, carriers: Mapping[str, str]) -> tuple[Link, ...]: ...

    async def forwarding_interfaces(self) -> tuple[str, ...]:
        """Those that have an address to route by, and forward."""
        ...

    def device_of(self, address: str) -> str | None:
        """The device towards an address; None when there is no route."""
        ...

    async def has_feature(self, device: str, feature: str) -> bool | None:
        """Whether an ethtool feature is on; None when device or kernel do not know it."""
        ...

    async def code_of(self, device: str) -> str:
        """The versions of driver and firmware in words, "" where the driver tells none."""
        ...

    def watch(self, changed: Callable[[], None], failed: Failed) -> Watch:
        """Hear (some 100 ms later) that devices or addresses came, went or changed."""
        ...

    async def sightings(self) -> list[Sighting]:
        """Which MAC is behind which port, and which address has it; MalformedMessage."""
        ...

    def watch_sightings(
        self,
        took: Callable[[list[Sighting]], None],
        lost: Callable[[], None],
        failed: Failed,
    ) -> Watch:
        """Hear of them as they come; `lost`: some were not told."""
        ...


class KernelLog(Interface):
    """/dev/kmsg (Documentation/ABI/testing/dev-kmsg)."""

    def newest(self) -> int | None:
        """The sequence number of the newest record; None when there is none."""
        ...

    def follow(
        self, after: int | None, took: Callable[[list[bytes]], None], failed: Failed
    ) -> Watch:
        """Hear all records after the one with this number, or with None those to come.

        They come as the kernel wrote them, some at a time; numbers that are missing are lost.
        """
        ...

    async def recent(self, most: int) -> list[bytes]:
        """The newest records as the kernel wrote them, the oldest first."""
        ...

    def netdev_of(self, device_id: str) -> str | None:
        """The one network device that a record's DEVICE means; None for none or several."""
        ...


class Engines(Interface):
    """The tables of packet engines, where their driver shows them."""

    def are_readable(self) -> bool: ...

    def sweep(self, *, only_bound: bool) -> AsyncGenerator[list[EngineEntry], None]:
        """The entries of all engines, some at a time."""
        ...


class LastBoot(Interface):
    """What may tell how the boot before ended; what is missing is told in words."""

    def dumps(self) -> tuple[Dumps, str]:
        """The crash dumps, and how this source does."""
        ...

    def clear_dumps(self) -> tuple[str, ...]:
        """Delete the crash dumps; the problems, a line each."""
        ...

    def watchdog_reset(self) -> bool | None:
        """Whether the hardware watchdog caused this boot; None where none tells."""
        ...


@frozen
class Ended:
    """How a program ended: `status` None when it was killed for taking too long."""

    status: int | None
    output: bytes


class Programs(Interface):
    async def run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        seconds: float,
        most: int,
    ) -> Ended:
        """Run a program for at most `seconds`; of what it prints the first `most` bytes.

        It is killed, with all that it started, when it takes longer or nobody waits any more.
        """
        ...


@frozen
class Machine:
    """All of it; `release` is the kernel's (uname -r)."""

    release: str
    clock: Clock
    files: Files
    sysctls: Sysctls
    tables: Tables
    connections: Connections
    network: Network
    kernel_log: KernelLog
    engines: Engines
    last_boot: LastBoot
    programs: Programs
