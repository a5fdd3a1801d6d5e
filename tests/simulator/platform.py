# SPDX-License-Identifier: GPL-2.0-or-later
"""What is around the daemon on OpenWrt: configuration, firewall4 and netifd."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NoReturn

from flowguard.core.faults import FaultRules
from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE
from flowguard.kernel.nftables.names import FIREWALL_TABLE
from flowguard.kernel.nftables.ruleset import ForeignFlowtable
from flowguard.platform.configuration.loading import Configuration, Loaded
from flowguard.platform.openwrt.netifd import Interfaces
from flowguard.platform.systemd.journal import NoJournal
from flowguard.service.surroundings import Surroundings
from tests.simulator.machine.kernel import Kernel
from tests.simulator.process import Process
from tests.simulator.world import World

LOAD_SECONDS = 0.2
NETIFD_SECONDS = 0.05
STARTED_POLL = 2.0
LOCK_POLL = 0.2


class Platform:
    """`is_readable`: the configuration file can be; `netifd_error` is what asking it meets.

    `interfaces` are the names that netifd routes over; None: there is no netifd.
    """

    def __init__(self, world: World, kernel: Kernel, configuration: Configuration) -> None:
        self.configuration = configuration
        self.last_read = configuration
        self.is_readable = True
        self.interfaces: tuple[str, ...] | None = ("br-lan", "wan")
        self.netifd_error: OSError | None = None
        self.firewall_is_stopped = False
        self.firewall_is_busy = False
        self._world = world
        self._kernel = kernel

    def load_now(self) -> Loaded:
        if not self.is_readable:
            return Loaded(Configuration(), (), readable=False)
        self.last_read = self.configuration
        return Loaded(self.configuration, ())

    def boot(self) -> None:
        self.firewall_is_stopped = self.firewall_is_busy = False
        self.netifd_error = None

    def surroundings(self, process: Process) -> Surroundings:
        async def load() -> Loaded:
            await process.wait(LOAD_SECONDS)
            return self.load_now()

        async def interfaces() -> Interfaces | None:
            await process.wait(NETIFD_SECONDS)
            if self.netifd_error:
                raise self.netifd_error
            return None if self.interfaces is None else Interfaces(self.interfaces, {})

        async def load_rules(files: Sequence[str]) -> FaultRules:
            raise AssertionError("nobody here has rules of his own")

        def previous_boot() -> NoReturn:
            raise NoJournal("no systemd here")

        return Surroundings(load, load_rules, interfaces, Fw4(self, process), previous_boot)

    # --- the firewall -----------------------------------------------------------------------

    def reload_firewall(self) -> None:
        """fw4 builds its own table anew and leaves ours alone."""
        self._world.tell("fw4 reload")
        self._kernel.transactions.submit([], "fw4", lambda refused: None, commits=True)

    def stop_firewall(self) -> None:
        """fw4 flush: every table of the ruleset, one after the other, then its state."""
        self._world.tell("fw4 stop")
        self.firewall_is_busy = True
        ours = [n for n in (HARDWARE_TABLE, SOFTWARE_TABLE) if n in self._kernel.ruleset.tables]
        for name in ours:
            self._kernel.delete_tables([name], "fw4")
        self._world.after(0.5, self._stopped)

    def _stopped(self) -> None:
        self.firewall_is_stopped, self.firewall_is_busy = True, False

    def start_firewall(self) -> None:
        self._world.tell("fw4 start")
        self.firewall_is_stopped = self.firewall_is_busy = False

    def offload_by_firewall(self, offloads: bool) -> None:
        """Somebody ticks "software flow offloading" in LuCI, or unticks it."""
        self._world.tell("fw4 offloads: %s", offloads)
        flowtable = ForeignFlowtable(FIREWALL_TABLE, False, ("lan1", "wan")) if offloads else None
        self._kernel.set_foreign(flowtable, FIREWALL_TABLE)


class Fw4:
    def __init__(self, platform: Platform, process: Process) -> None:
        self._platform = platform
        self._process = process

    async def is_stopped(self) -> bool:
        await self._process.wait(0.001)
        while self._platform.firewall_is_busy:
            await self._process.wait(LOCK_POLL)
        return self._platform.firewall_is_stopped

    async def started(self) -> None:
        while await self.is_stopped():
            await asyncio.sleep(STARTED_POLL)
