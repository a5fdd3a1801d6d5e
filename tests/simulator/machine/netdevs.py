# SPDX-License-Identifier: GPL-2.0-or-later
"""Network devices: they come, go, are renamed, and some have a packet engine behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flowguard.core.model import Device
from flowguard.core.records import mutable
from flowguard.core.tables.topology import Kind, Link
from flowguard.kernel.route.links import Links


@mutable
class Netdev:
    """`takes_flows`: its driver accepts a hardware flowtable. `stuck`: whoever binds it waits.

    `tc_offload` is the ethtool feature; None where the driver does not know it.
    """

    name: str
    ifindex: int
    kind: Kind = Kind.PORT
    driver: str | None = None
    bus_name: str | None = None
    port: str = ""
    lower: tuple[str, ...] = ()
    up: bool = True
    takes_flows: bool = True
    tc_offload: bool | None = True
    code: str = ""
    stuck: bool = False
    addressed: bool = False
    networks: tuple[str, ...] = ()


class Netdevs:
    """`gone` hears of each device that went away or down, under its last name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Netdev] = {}
        self.changed: list[Callable[[], None]] = []
        self.gone: list[Callable[[str], None]] = []
        self._index = 0

    def add(self, netdev: Netdev) -> Netdev:
        self._index += 1
        netdev.ifindex = self._index
        self.by_name[netdev.name] = netdev
        self._tell()
        return netdev

    def remove(self, name: str) -> None:
        if self.by_name.pop(name, None):
            for hear in tuple(self.gone):
                hear(name)
            self._tell()

    def set_up(self, name: str, up: bool) -> None:
        netdev = self.by_name.get(name)
        if netdev and netdev.up != up:
            netdev.up = up
            if not up:
                for hear in tuple(self.gone):
                    hear(name)
            self._tell()

    def touch(self) -> None:
        """An address or a carrier changed: news without consequences."""
        self._tell()

    def _tell(self) -> None:
        for hear in tuple(self.changed):
            hear()

    # --- what the boundary shows ---------------------------------------------------------

    def scan(self, names: Sequence[str], carriers: Mapping[str, str]) -> Links:
        wanted = list(dict.fromkeys(names))
        found = [self._device(self.by_name[n]) for n in wanted if n in self.by_name]
        return Links(tuple(found), tuple(n for n in wanted if n not in self.by_name))

    def links(self, carriers: Mapping[str, str]) -> tuple[Link, ...]:
        return tuple(
            Link(n.name, n.kind, n.up, self._directly_below(n, carriers))
            for n in sorted(self.by_name.values(), key=lambda n: n.name)
        )

    def forwarding_interfaces(self) -> tuple[str, ...]:
        return tuple(sorted(n.name for n in self.by_name.values() if n.addressed and n.up))

    def device_of(self, address: str) -> str | None:
        """The longest prefix wins; prefixes are of whole characters, which is enough here."""
        found, longest = None, -1
        for netdev in self.by_name.values():
            for network in netdev.networks:
                if netdev.up and address.startswith(network) and len(network) > longest:
                    found, longest = netdev.name, len(network)
        return found

    def _device(self, netdev: Netdev) -> Device:
        carrier = self.by_name.get(netdev.lower[0], netdev) if netdev.lower else netdev
        above = self._above(netdev.name)
        bridges = [n for n in above if self.by_name[n].kind is Kind.BRIDGE]
        ports = {n for bridge in bridges for n in self.by_name[bridge].lower if n in self.by_name}
        by = ports & {netdev.name, *above}
        return Device(
            name=netdev.name,
            ifindex=netdev.ifindex,
            driver=netdev.driver or carrier.driver,
            bus_name=netdev.bus_name or carrier.bus_name,
            port=netdev.port,
            lower=tuple(n for n in netdev.lower if n in self.by_name),
            forward_names=tuple(sorted({netdev.name, *above})),
            bridges=tuple(sorted({n for b in bridges for n in (b, *self._above(b))})),
            bridge_ports=tuple(sorted(by)),
            beside=tuple(sorted(ports - by)),
        )

    def _above(self, name: str) -> list[str]:
        """Everything that is built on it."""
        found: list[str] = []
        ahead = [name]
        while ahead:
            below = ahead.pop(0)
            for netdev in self.by_name.values():
                if below in netdev.lower and netdev.name not in found:
                    found.append(netdev.name)
                    ahead.append(netdev.name)
        return found

    def _directly_below(self, netdev: Netdev, carriers: Mapping[str, str]) -> tuple[str, ...]:
        below = tuple(n for n in netdev.lower if n in self.by_name)
        if netdev.kind is Kind.PPP and netdev.name in carriers:
            return tuple(n for n in below if n == carriers[netdev.name])
        return below
