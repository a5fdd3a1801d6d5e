# SPDX-License-Identifier: GPL-2.0-or-later
"""Network devices: which take part, what is below and above them, and when that changes.

Read from sysfs (Documentation/ABI/testing/sysfs-class-net), where `upper_NAME` and
`lower_NAME` link a device to its neighbours in the stack.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from flowguard.core.model import Device
from flowguard.core.records import frozen
from flowguard.core.tables.topology import Kind, Link
from flowguard.kernel.netlink.multicast import NetlinkTrigger
from flowguard.kernel.route.rtnetlink import NETLINK_ROUTE

RTMGRP_LINK = 1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100
DELAY = 0.1
ARPHRD_ETHER = "1"
ARPHRD_PPP = "512"
TUNNELS = {"768", "769", "776", "778", "823"}
"""By `type` (include/uapi/linux/if_arp.h): IPIP, IPv6 tunnel, SIT, GRE, GRE over IPv6."""
IFF_UP = 1
KINDS = {
    "bridge": Kind.BRIDGE,
    "vlan": Kind.VLAN,
    "bond": Kind.BOND,
    "macvlan": Kind.MACVLAN,
    "wlan": Kind.WIFI,
    "dsa": Kind.PORT,
}
"""By DEVTYPE of uevent."""
NO_CARRIERS: Mapping[str, str] = {}


@frozen
class Links:
    """`missing` are the names that do not exist now."""

    devices: tuple[Device, ...]
    missing: tuple[str, ...]


def scan(
    names: Sequence[str],
    sys: str = "/sys",
    proc: str = "/proc",
    carriers: Mapping[str, str] = NO_CARRIERS,
) -> Links:
    """The devices of these names that exist, and the names that do not.

    `carriers` says which device a PPP device's session goes through, where it is known.
    """
    tree = _tree(sys, proc, carriers)
    existing = tree.names()
    wanted = list(dict.fromkeys(names))
    found = [tree.device(name) for name in wanted if name in existing]
    missing = [name for name in wanted if name not in existing]
    return Links(tuple(d for d in found if d is not None), tuple(missing))


def links(
    sys: str = "/sys", proc: str = "/proc", carriers: Mapping[str, str] = NO_CARRIERS
) -> tuple[Link, ...]:
    """All devices there are, each with what is directly below it."""
    tree = _tree(sys, proc, carriers)
    return tuple(tree.link(name) for name in tree.names())


def _tree(sys: str, proc: str, carriers: Mapping[str, str]) -> _Tree:
    sessions = os.path.join(proc, "net", "pppoe")
    return _Tree(os.path.join(sys, "class", "net"), sessions, carriers)


class LinkWatch:
    """Calls `changed` (debounced) after any device or address appeared, vanished or changed."""

    def __init__(self, changed: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Listens on the running loop at once; raises OSError."""
        groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
        self._trigger = NetlinkTrigger(NETLINK_ROUTE, groups, bool, changed, failed, DELAY)

    def close(self) -> None:
        self._trigger.close()


class _Tree:
    """The devices as sysfs shows them at this moment; any may vanish while one looks.

    Each folder is listed once: a slow router with fifty devices takes half a second for this.
    """

    def __init__(self, directory: str, pppoe_sessions: str, carriers: Mapping[str, str]) -> None:
        self._directory = directory
        self._pppoe_sessions = pppoe_sessions
        self._carriers = carriers
        self._listed: dict[str, list[str]] = {}

    def names(self) -> list[str]:
        # What is no folder, like bonding_masters, is no device.
        return [name for name in self._entries("") if self._entries(name)]

    def device(self, name: str) -> Device | None:
        index = self._read(name, "ifindex")
        if not index:
            return None
        uppers = tuple(self._uppers(name))
        bridges = [upper for upper in uppers if self._kind(upper) is Kind.BRIDGE]
        on_bridges = {n for bridge in bridges for n in (bridge, *self._uppers(bridge))}
        ports = {port for bridge in bridges for port in self._neighbours(bridge, "lower_")}
        by = ports & {name, *uppers}
        return Device(
            name=name,
            ifindex=int(index),
            driver=self._driver(name),
            bus_name=self._bus_name(name),
            port=self._port(name),
            lower=tuple(self._beyond(name, "lower_")),
            forward_names=tuple(sorted({name, *uppers})),
            bridges=tuple(sorted(on_bridges)),
            bridge_ports=tuple(sorted(by)),
            beside=tuple(sorted(ports - by)),
        )

    def link(self, name: str) -> Link:
        kind = self._kind(name)
        below = self._pppoe_below(name) if kind is Kind.PPP else self._neighbours(name, "lower_")
        up = bool(int(self._read(name, "flags") or "0", 16) & IFF_UP)
        return Link(name, kind, up, tuple(below))

    def _kind(self, name: str) -> Kind:
        type_ = self._read(name, "type")
        if type_ == ARPHRD_PPP:
            return Kind.PPP
        if type_ in TUNNELS or self._device_type(name) == "wireguard":
            return Kind.TUNNEL
        if type_ != ARPHRD_ETHER:
            return Kind.OTHER
        if self._has(name, "phy80211") or self._has(name, "wireless"):
            return Kind.WIFI
        if self._has(name, "dsa"):
            return Kind.CONDUIT
        hardware = Kind.PORT if self._has(name, "device") else Kind.OTHER
        return KINDS.get(self._device_type(name), hardware)

    def _driver(self, name: str) -> str | None:
        """The driver that moves the packets: for a switch port, that of the inner link."""
        return self._link_target(self._carrier(name), "device", "driver")

    def _bus_name(self, name: str) -> str | None:
        """Like 15100000.ethernet or 0000:01:00.0, as dev_err prints it."""
        return self._link_target(self._carrier(name), "device")

    def _port(self, name: str) -> str:
        """Which part of its hardware the device is: as the driver numbers it, or the device tree.

        What has no hardware of its own is told from its carrier by its name.
        """
        if not self._has(name, "device") and self._kind(name) != "dsa":
            return name if self._carrier(name) != name else ""
        node = os.path.realpath(self._at(name, "of_node"))
        in_tree = os.path.basename(node) if self._has(name, "of_node") else ""
        return self._read(name, "phys_port_name") or in_tree or self._read(name, "dev_port")

    def _carrier(self, name: str) -> str:
        """The device whose driver moves this one's packets."""
        lower = self._neighbours(name, "lower_")
        if lower and (self._device_type(name) == "dsa" or not self._has(name, "device")):
            return self._carrier(lower[0])
        return name

    def _link_target(self, name: str, *parts: str) -> str | None:
        try:
            return os.path.basename(os.readlink(self._at(name, *parts)))
        except OSError:
            return None

    def _uppers(self, name: str) -> Iterable[str]:
        uppers = self._beyond(name, "upper_")
        devices = self._pppoe_devices()
        if not devices & {name, *uppers}:
            return uppers
        sessions = [n for n in self.names() if self._read(n, "type") == ARPHRD_PPP]
        return [*uppers, *(n for n in sessions if {name, *uppers} & set(self._pppoe_below(n)))]

    def _beyond(self, name: str, prefix: str) -> list[str]:
        """Everything above or below, near ones first."""
        found: list[str] = []
        ahead = [name]
        while ahead:
            for neighbour in self._neighbours(ahead.pop(0), prefix):
                if neighbour not in found and neighbour != name:
                    found.append(neighbour)
                    ahead.append(neighbour)
        return found

    def _neighbours(self, name: str, prefix: str) -> list[str]:
        return [e.removeprefix(prefix) for e in self._entries(name) if e.startswith(prefix)]

    def _pppoe_below(self, name: str) -> list[str]:
        """What a PPP device's session goes through; sysfs does not link the two.

        The kernel does not say whose session it is. With several, and nobody who knows,
        they are taken together.
        """
        devices = self._pppoe_devices()
        carrier = self._carriers.get(name)
        return sorted(devices & {carrier} if carrier else devices)

    def _pppoe_devices(self) -> set[str]:
        try:
            with open(self._pppoe_sessions, "rb") as file:
                lines = os.fsdecode(file.read()).split("\n")
            return {line.split()[-1] for line in lines[1:] if line.strip()}
        except OSError:
            return set()

    def _device_type(self, name: str) -> str:
        fields = dict(
            line.split("=", 1) for line in self._read(name, "uevent").splitlines() if "=" in line
        )
        return fields.get("DEVTYPE", "")

    def _read(self, name: str, file: str) -> str:
        try:
            with open(self._at(name, file), "rb", buffering=0) as opened:
                return os.fsdecode(opened.read()).strip()
        except OSError:
            return ""

    def _has(self, name: str, entry: str) -> bool:
        return entry in self._entries(name)

    def _entries(self, name: str) -> list[str]:
        """What is in a device's folder, sorted; nothing where there is none."""
        if name not in self._listed:
            try:
                self._listed[name] = sorted(os.listdir(self._at(name)))
            except OSError:
                self._listed[name] = []
        return self._listed[name]

    def _at(self, name: str, *parts: str) -> str:
        return os.path.join(self._directory, name, *parts)
