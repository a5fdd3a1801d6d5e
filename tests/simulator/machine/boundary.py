# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine as one program sees it: `Machine` in terms of the kernel in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from flowguard.core.tables.topology import Link
from flowguard.kernel.kmsg import BATCH
from flowguard.kernel.machine import Ended, Failed, Machine
from flowguard.kernel.pstore import Dumps
from flowguard.kernel.route.links import Links
from flowguard.kernel.route.sightings import Sighting
from tests.simulator.machine import costs
from tests.simulator.machine.boundary_flows import BoundConnections, BoundEngines
from tests.simulator.machine.boundary_tables import BoundTables
from tests.simulator.machine.kernel import Kernel
from tests.simulator.machine.kernel_log import LogFollower
from tests.simulator.machine.watching import Called, Debounced, Watching, discard
from tests.simulator.process import Process

Took = Callable[[list[bytes]], None]


def machine_for(process: Process, kernel: Kernel) -> Machine:
    return Machine(
        release=kernel.release,
        clock=BoundClock(process, kernel),
        files=BoundFiles(process, kernel),
        sysctls=BoundSysctls(process, kernel),
        tables=BoundTables(process, kernel),
        connections=BoundConnections(process, kernel),
        network=BoundNetwork(process, kernel),
        kernel_log=BoundLog(process, kernel),
        engines=BoundEngines(process, kernel),
        last_boot=BoundLastBoot(process, kernel),
        programs=BoundPrograms(process, kernel),
    )


class BoundClock:
    def __init__(self, process: Process, kernel: Kernel) -> None:
        self.boot_id = kernel.boot_id
        self._process = process
        self._booted = kernel.booted

    def now(self) -> float:
        return round(self._process.time() - self._booted, 3)

    def wall_clock(self, moment: float) -> str:
        return f"{moment:.3f} s after boot"


class BoundFiles:
    def __init__(self, process: Process, kernel: Kernel) -> None:
        self._process = process
        self._disk = kernel.disk
        self._kernel = kernel
        self._delays: Random = kernel.world.random(f"flash {process.name}")

    def read(self, path: str) -> str:
        self._process.hold(costs.FILE_READ)
        return self._disk.read(path)

    def read_escaped(self, path: str) -> str:
        return self.read(path)

    def exists(self, path: str) -> bool:
        self._process.hold(costs.FILE_READ)
        return self._disk.exists(path)

    def replace(self, path: str, text: str) -> None:
        self._process.hold(costs.FILE_WRITE)
        self._disk.write(path, text)

    async def keep(self, path: str, text: str) -> None:
        """Written, synced, renamed, synced: a kill or a power cut may come before each."""
        await self._process.wait(0.001)
        self._disk.write(f"{path}.new", text)
        await self._process.wait(self._delays.uniform(*costs.FLASH_SYNC))
        self._disk.medium(path).refuse(path)
        self._disk.sync(f"{path}.new")
        await self._process.wait(0.0001)
        self._disk.rename(f"{path}.new", path)
        await self._process.wait(self._delays.uniform(*costs.FLASH_SYNC) / 4)
        self._disk.sync(path)
        self._disk.sync(f"{path}.new")
        self._kernel.world.tell("flash: %s is kept", path)

    def append(self, path: str, text: str) -> int:
        self._process.hold(costs.FILE_WRITE)
        return self._disk.append(path, text)

    def rename(self, path: str, to: str) -> None:
        self._process.hold(costs.FILE_WRITE)
        self._disk.rename(path, to)

    def remove(self, path: str) -> None:
        self._process.hold(costs.FILE_WRITE)
        self._disk.remove(path)


class BoundSysctls:
    def __init__(self, process: Process, kernel: Kernel) -> None:
        self._process = process
        self._kernel = kernel

    def get(self, name: str) -> int | None:
        self._process.hold(costs.SYSCTL)
        if name == "net/netfilter/nf_conntrack_count":
            return len(self._kernel.connections.by_id)
        return self._kernel.sysctls.get(name)

    def set(self, name: str, value: int) -> None:
        self._process.hold(costs.SYSCTL)
        if name not in self._kernel.sysctls:
            raise FileNotFoundError(2, "No such file or directory", name)
        self._kernel.set_sysctl(name, value)


class BoundNetwork:
    def __init__(self, process: Process, kernel: Kernel) -> None:
        self._process = process
        self._kernel = kernel
        self._netdevs = kernel.netdevs

    def exists(self, device: str) -> bool:
        self._process.hold(costs.ROUTE)
        return device in self._netdevs.by_name

    async def scan(self, names: Sequence[str], carriers: Mapping[str, str]) -> Links:
        await self._process.wait(costs.DEVICE_SCAN * len(self._netdevs.by_name))
        return self._netdevs.scan(names, carriers)

    async def links(self, carriers: Mapping[str, str]) -> tuple[Link, ...]:
        await self._process.wait(costs.DEVICE_SCAN * len(self._netdevs.by_name))
        return self._netdevs.links(carriers)

    async def forwarding_interfaces(self) -> tuple[str, ...]:
        await self._process.wait(costs.ROUTE)
        return self._netdevs.forwarding_interfaces()

    def device_of(self, address: str) -> str | None:
        self._process.hold(costs.ROUTE)
        return self._netdevs.device_of(address)

    async def has_feature(self, device: str, feature: str) -> bool | None:
        self._process.hold(costs.ETHTOOL)
        netdev = self._netdevs.by_name.get(device)
        if netdev is None:
            raise OSError(19, "No such device")
        return netdev.tc_offload

    async def code_of(self, device: str) -> str:
        self._process.hold(costs.ETHTOOL)
        netdev = self._netdevs.by_name.get(device)
        if netdev is None:
            raise OSError(19, "No such device")
        return netdev.code

    def watch(self, changed: Called, failed: Failed) -> Watching:
        self._process.hold(costs.SYSCTL)
        hear = Debounced(self._process, costs.NETWORK_NEWS, changed)
        self._netdevs.changed.append(hear)
        return Watching(self._process, lambda: discard(self._netdevs.changed, hear))

    async def sightings(self) -> list[Sighting]:
        await self._process.wait(costs.ROUTE)
        return self._kernel.neighbourhood.sightings()

    def watch_sightings(
        self, took: Callable[[list[Sighting]], None], lost: Called, failed: Failed
    ) -> Watching:
        self._process.hold(costs.SYSCTL)
        hearers = self._kernel.neighbourhood.hear

        def hear(sightings: list[Sighting]) -> None:
            self._process.world.after(costs.NEWS[0], lambda: self._process.call(took, sightings))

        hearers.append(hear)
        return Watching(self._process, lambda: discard(hearers, hear))


class BoundLog:
    def __init__(self, process: Process, kernel: Kernel) -> None:
        self._process = process
        self._kernel = kernel
        self._log = kernel.log

    def newest(self) -> int | None:
        self._process.hold(costs.LOG_SEARCH)
        if self._log.error:
            raise self._log.error
        return self._log.newest()

    def follow(self, after: int | None, took: Took, failed: Failed) -> Watching:
        """Records are handed over on the loop, as many at a time as the real reader takes."""
        self._process.hold(costs.FILE_READ)
        log = self._log
        if log.error:
            raise log.error
        newest = log.newest()
        start = (-1 if newest is None else newest) if after is None else after
        pending = False

        def read() -> None:
            nonlocal pending
            pending = False
            records, follower.position = log.read(follower.position, BATCH)
            if records and follower in log.followers:
                self._process.hold(costs.LOG_RECORDS * len(records))
                took(records)
                wake()

        def wake() -> None:
            nonlocal pending
            if not pending:
                pending = True
                self._kernel.world.after(costs.NEWS[1], lambda: self._process.call(read))

        def broken(told: str) -> None:
            discard(log.followers, follower)
            self._process.call(failed, told)

        follower = LogFollower(start + 1, wake, broken)
        log.followers.append(follower)
        wake()
        return Watching(self._process, lambda: discard(log.followers, follower))

    async def recent(self, most: int) -> list[bytes]:
        await self._process.wait(costs.LOG_SEARCH)
        if self._log.error:
            raise self._log.error
        return self._log.newest_records(most)

    def netdev_of(self, device_id: str) -> str | None:
        self._process.hold(costs.FILE_READ)
        for netdev in self._kernel.netdevs.by_name.values():
            if device_id in (f"n{netdev.ifindex}", f"+platform:{netdev.bus_name}"):
                return netdev.name
        return None


class BoundLastBoot:
    def __init__(self, process: Process, kernel: Kernel) -> None:
        self._process = process
        self._kernel = kernel

    def dumps(self) -> tuple[Dumps, str]:
        self._process.hold(costs.DUMPS)
        return Dumps(tuple(self._kernel.dumps), ()), self._kernel.dumps_state

    def clear_dumps(self) -> tuple[str, ...]:
        self._process.hold(costs.DUMPS)
        self._kernel.dumps.clear()
        return ()

    def watchdog_reset(self) -> bool | None:
        self._process.hold(costs.LOG_SEARCH)
        return self._kernel.watchdog_reset


class BoundPrograms:
    """All programs end well after a moment, but for those that the kernel lets hang."""

    def __init__(self, process: Process, kernel: Kernel) -> None:
        self._process = process
        self._kernel = kernel

    async def run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        seconds: float,
        most: int,
    ) -> Ended:
        self._kernel.world.tell("program: %s", " ".join(words))
        if words[0] in self._kernel.hanging_programs:
            await self._process.wait(seconds)
            return Ended(None, b"")
        await self._process.wait(0.05)
        return Ended(0, b"")
