# SPDX-License-Identifier: GPL-2.0-or-later
"""Which hosts are behind which port of a bridge, and when one moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from flowguard.core.events import Event, HostsSeen
from flowguard.core.model import Host, KnownHosts
from flowguard.kernel.machine import Machine
from flowguard.kernel.route.sightings import Learned, Sighting

# A home has some dozens; a host that is not known is in software, which harms nobody.
HOSTS_MOST = 1024
MACS_MOST = 4096
# What comes together is told together; and a loop in the network must not keep us busy.
GATHER_SECONDS = 0.02
PAUSE_SECONDS = 0.5
# A host that moves is first forgotten by its port, which changes nothing: the news that it is
# elsewhere follows soon, and its connections wait for it.
SHORT_PAUSE_SECONDS = 0.1

Key = TypeVar("Key")


class HostTable:
    """Joins what bridges and neighbours tell: an address has a MAC, a MAC is behind a port.

    A host that a bridge has forgotten is where it was seen last: in hardware it is not heard
    of. Of more than the limits those that were seen first are forgotten. `kept` is the port of
    each address as a daemon before knew it.
    """

    def __init__(self, kept: Mapping[str, str] | None = None) -> None:
        self._kept = dict(kept or {})
        self._ports: dict[bytes, dict[str, str]] = {}
        self._macs: dict[str, tuple[str, bytes]] = {}

    def take(self, sightings: Iterable[Sighting]) -> None:
        for sighting in sightings:
            if isinstance(sighting, Learned):
                if sighting.port is not None:
                    known = self._ports.pop(sighting.mac, {})
                    self._ports[sighting.mac] = known | {sighting.bridge: sighting.port}
                continue
            self._macs.pop(sighting.address, None)
            if sighting.mac is not None:
                self._macs[sighting.address] = sighting.device, sighting.mac
            else:
                self._kept.pop(sighting.address, None)
        _shorten(self._ports, MACS_MOST)
        _shorten(self._macs, HOSTS_MOST)

    def hosts(self) -> dict[str, str]:
        """The port of each address that is behind one."""
        found = {address: self._port(*seen) for address, seen in self._macs.items()}
        known = self._kept | {address: port for address, port in found.items() if port}
        _shorten(known, HOSTS_MOST)
        return known

    def _port(self, device: str, mac: bytes) -> str | None:
        """A neighbour behind a VLAN of a bridge is found by its MAC, if only one bridge has it."""
        known = self._ports.get(mac, {})
        if device in known:
            return known[device]
        return next(iter(known.values())) if len(known) == 1 else None


class HostsSensor:
    """Tells `feed` of what has changed: nearly at once, and no more than twice a second."""

    name = "hosts"
    patience: float | None = None

    def __init__(self, machine: Machine, feed: Callable[[Event], None]) -> None:
        """Nothing is known before it runs, or `go_on_from`."""
        self._network = machine.network
        self._now = machine.clock.now
        self._feed = feed
        self._table = HostTable()
        self._told: dict[str, str] = {}
        self._heard: list[Sighting] = []
        self._news = asyncio.Event()
        self._has_lost = False
        self._failure = ""

    def go_on_from(self, kept: KnownHosts) -> None:
        """What a daemon before this one knew: who has moved meanwhile has moved."""
        self._told = {host.address: host.port for host in kept.hosts}
        self._table = HostTable(self._told)
        if kept.hosts:
            self._feed(HostsSeen(self._now(), kept.hosts, ()))

    async def _look(self) -> bool:
        """At everything; whether there was news. Raises OSError and MalformedMessage."""
        self._has_lost = False
        # Heard before the question, so older than the answer; it alone tells who is gone.
        self._table.take(self._heard)
        self._heard.clear()
        self._table.take(await self._network.sightings())
        # What was heard meanwhile is newer than the answer.
        return self._tell()

    async def run(self, alive: Callable[[], None]) -> None:
        """Raises OSError with what ended the watch."""
        self._failure = ""
        watching = self._network.watch_sightings(self._take, self._lost, self._failed)
        try:
            await self._look()
            alive()
            while not self._failure:
                await self._news.wait()
                await asyncio.sleep(GATHER_SECONDS)
                self._news.clear()
                told = await self._look() if self._has_lost else self._tell()
                await asyncio.sleep(PAUSE_SECONDS if told else SHORT_PAUSE_SECONDS)
            raise OSError(self._failure)
        finally:
            watching.close()

    def _take(self, sightings: list[Sighting]) -> None:
        self._heard += sightings
        if len(self._heard) > MACS_MOST:
            # Where so much is going on it is cheaper to look.
            self._table.take(self._heard)
            self._heard.clear()
            self._has_lost = True
        self._news.set()

    def _lost(self) -> None:
        self._has_lost = True
        self._news.set()

    def _failed(self, why: str) -> None:
        self._failure = why
        self._news.set()

    def _tell(self) -> bool:
        """Whether there was news."""
        self._table.take(self._heard)
        self._heard.clear()
        before, self._told = self._told, self._table.hosts()
        now = self._told
        seen = tuple(Host(a, p) for a, p in sorted(now.items()) if before.get(a) != p)
        gone = tuple(sorted(before.keys() - now.keys()))
        if seen or gone:
            self._feed(HostsSeen(self._now(), seen, gone))
        return bool(seen or gone)


def _shorten(table: dict[Key, Any], most: int) -> None:
    while len(table) > most:
        del table[next(iter(table))]
