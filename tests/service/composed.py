# SPDX-License-Identifier: GPL-2.0-or-later
"""The service with its start, its end and its methods, on whatever machine a test gives it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from flowguard import rules
from flowguard.core.events import Event
from flowguard.core.faults import FaultRules
from flowguard.core.model import Level
from flowguard.kernel.machine import Machine
from flowguard.paths import Paths
from flowguard.platform.configuration import loading
from flowguard.platform.configuration.loading import Configuration, Loaded
from flowguard.platform.systemd.journal import NoJournal, PreviousBoot
from flowguard.sensors.devices import no_netifd
from flowguard.sensors.supervise import Sensor
from flowguard.service.api import Api
from flowguard.service.loop import Service
from flowguard.service.running import Door, Running
from flowguard.service.status import status
from flowguard.service.surroundings import Surroundings
from tests import virtual_time
from tests.actuators.router import LAN, WAN, Router


@dataclass
class NoFirewall:
    """None, unless it `was_stopped`."""

    was_stopped: bool = False
    starts: asyncio.Event = field(default_factory=asyncio.Event)

    async def is_stopped(self) -> bool:
        return self.was_stopped

    async def started(self) -> None:
        await self.starts.wait()
        self.starts.clear()


@cache
def shipped_rules() -> FaultRules:
    return rules.load_usable(())


def no_journal() -> PreviousBoot:
    raise NoJournal("no systemd here")


class Platform:
    """What is beside the machine; `loaded` is what the next reload finds."""

    def __init__(self, loaded: Loaded | None = None, file: str | None = None) -> None:
        self.loaded = loaded or loading.load(file)
        self.firewall = NoFirewall()
        self._file = file

    def configure(self, configuration: Configuration, readable: bool = True) -> None:
        self.loaded = Loaded(configuration, (), readable)

    @property
    def surroundings(self) -> Surroundings:
        async def load() -> Loaded:
            if self._file:
                self.loaded = loading.load(self._file)
            return self.loaded

        async def load_rules(files: Sequence[str]) -> FaultRules:
            return rules.load_usable(files)

        return Surroundings(load, load_rules, no_netifd, self.firewall, no_journal)


class Daemon:
    """As `service.wiring` puts it together, but without signals, ubus and supervisor."""

    def __init__(
        self,
        machine: Machine,
        paths: Paths,
        platform: Platform,
        doors: Sequence[Door] = (),
        opening: Sequence[Event] = (),
        late: Sequence[Sensor] = (),
    ) -> None:
        loaded = platform.loaded
        self.service = Service(machine, platform.surroundings, paths, loaded, shipped_rules())
        self.service.problems.found("configuration", map(str, loaded.problems))
        self.running = Running(self.service, doors, opening, late)
        self.api = Api(self.service, self.running)


async def while_running(daemon: Daemon, use: Callable[[], Awaitable[None]]) -> None:
    """Run it, `use` it when it has started, and end it so that everything stays as it is."""
    life = asyncio.create_task(daemon.running.run())
    started = asyncio.create_task(daemon.running.started())
    try:
        await asyncio.wait([life, started], return_when=asyncio.FIRST_COMPLETED)
        if not life.done():
            await use()
    finally:
        started.cancel()
        daemon.running.end_now()
        await life


PATHS = Paths(None, "/etc/flowguard", "/var/run/flowguard/control.sock")
PATIENCE = 20_000.0
"""Virtual seconds: what has not come by then will never come."""
CONFIGURED = Configuration(enabled=True, device=(LAN, WAN), boot_delay=0)


class Home:
    """A router in memory with the daemon on it, in virtual time."""

    def __init__(
        self,
        configuration: Configuration = CONFIGURED,
        router: Router | None = None,
        doors: Sequence[Door] = (),
        late: Sequence[Sensor] = (),
    ) -> None:
        self.router = router or Router()
        self.platform = Platform(Loaded(configuration, ()))
        self.daemon = Daemon(self.router.machine, PATHS, self.platform, doors, late=late)
        self.service = self.daemon.service
        self.running = self.daemon.running

    def status(self) -> dict[str, Any]:
        return status(self.service, self.running)

    async def settled(self) -> None:
        """Until the kernel holds what is wanted, trials included."""
        await asyncio.sleep(0.1)
        await self.service.newest_plan.settled()
        await asyncio.sleep(0.1)

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await asyncio.sleep(0.05)


def at_home(use: Callable[[Home], Awaitable[None]], **how: Any) -> None:
    """The daemon has started, and is ended afterwards."""

    async def run() -> None:
        home = Home(**how)
        async with asyncio.timeout(PATIENCE):
            await while_running(home.daemon, lambda: use(home))

    virtual_time.run(run())


def live(use: Callable[[Home], Awaitable[None]], home: Callable[[], Home] = Home) -> None:
    """A life that `use` has to end."""

    async def run() -> None:
        made = home()
        life = asyncio.create_task(made.running.run())
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await use(made)
            await life

    virtual_time.run(run())


async def on_hardware(home: Home, flows: int = 3) -> None:
    await home.running.started()
    await home.settled()
    assert home.service.state.level is Level.HARDWARE
    home.router.flows.offload(flows)


def memory(router: Router) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(router.flash.texts[f"{PATHS.state_directory}/state.json"])
    return found


def next_boot(router: Router) -> Router:
    """The same flash after a reboot."""
    born = Router()
    born.flash.texts = {p: t for p, t in router.flash.texts.items() if p.startswith("/etc")}
    born.clock.boot_id = f"{router.clock.boot_id}+"
    return born
