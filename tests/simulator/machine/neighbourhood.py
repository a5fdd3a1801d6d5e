# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts behind the ports of the bridge, as its forwarding table and the neighbours show them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s

from flowguard.kernel.route.sightings import Learned, Neighbour, Sighting

MAC_SIZE = 6


class Neighbourhood:
    """`hear` hears of each sighting; `moved_at` is when a host last came or moved."""

    def __init__(self, bridge: str = "br-lan") -> None:
        self.hear: list[Callable[[list[Sighting]], None]] = []
        self.moved_at: dict[str, float] = {}
        self._bridge = bridge
        self._ports: dict[str, str] = {}

    def port_of(self, address: str) -> str | None:
        return self._ports.get(address)

    def addresses(self) -> list[str]:
        return [*self._ports]

    def see(self, address: str, port: str, now: float) -> None:
        """The bridge sees a packet of a host: it is behind this port."""
        if self._ports.get(address) == port:
            return
        self._ports[address] = port
        self.moved_at[address] = now
        sightings = self._sightings(address)
        for hear in tuple(self.hear):
            hear(sightings)

    def sightings(self) -> list[Sighting]:
        return [seen for address in self._ports for seen in self._sightings(address)]

    def _sightings(self, address: str) -> list[Sighting]:
        mac = blake2s(address.encode(), digest_size=MAC_SIZE).digest()
        return [
            Neighbour(self._bridge, address, mac),
            Learned(self._bridge, mac, self._ports[address]),
        ]
