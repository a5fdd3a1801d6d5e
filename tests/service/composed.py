# SPDX-License-Identifier: GPL-2.0-or-later
"""The service with its start, its end and its methods, on whatever machine a test gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from flowguard import rules
from flowguard.core.events import Event
from flowguard.core.faults import FaultRules
from flowguard.kernel.machine import Machine
from flowguard.paths import Paths
from flowguard.platform.configuration import loading
from flowguard.platform.configuration.loading import Configuration, Loaded
from flowguard.platform.systemd.journal import NoJournal, PreviousBoot
from flowguard.sensors.devices import no_netifd
from flowguard.service.api import Api
from flowguard.service.loop import Service
from flowguard.service.running import Door, Running
from flowguard.service.surroundings import Surroundings


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
    ) -> None:
        loaded = platform.loaded
        self.service = Service(machine, platform.surroundings, paths, loaded, rules.load_usable(()))
        self.service.problems.found("configuration", map(str, loaded.problems))
        self.running = Running(self.service, doors, opening)
        self.api = Api(self.service, self.running)


async def while_running(daemon: Daemon, use: Callable[[], Awaitable[None]]) -> None:
    """Run it, `use` it, and end it so that everything stays as it is."""
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
