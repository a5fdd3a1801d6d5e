# SPDX-License-Identifier: GPL-2.0-or-later
"""From the interfaces that packets are routed over to the devices that a flowtable needs.

Hardware needs the devices at the bottom, where packets enter the machine: nft_flow_offload walks
down from the route's device through bridges, VLANs and PPPoE (dev_fill_forward_path,
net/core/dev.c) and ends at ports, DSA user ports and bonds. What has none of those below it (a
tunnel, a bridge of access points) can take part itself, in software.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeGuard

from flowguard.core.records import frozen

MOST_TAGS = 2
"""NF_FLOW_TABLE_ENCAP_MAX of include/net/netfilter/nf_flow_table.h: VLAN tags and PPPoE."""


class Kind(StrEnum):
    """What a network device is, as far as offloading cares."""

    PORT = "port"
    CONDUIT = "conduit"
    BRIDGE = "bridge"
    VLAN = "vlan"
    BOND = "bond"
    MACVLAN = "macvlan"
    PPP = "ppp"
    WIFI = "wifi"
    TUNNEL = "tunnel"
    OTHER = "other"


TAGGING = {Kind.VLAN, Kind.PPP}
BOTTOM = {Kind.PORT, Kind.BOND, Kind.MACVLAN}
_REASONS = {
    Kind.CONDUIT: "the inner link of a switch, whose ports take part instead",
    Kind.WIFI: "Wi-Fi: not in hardware, where a roaming station would leave its flows behind"
    " (list device takes it)",
    Kind.BRIDGE: "a bridge without ports",
    Kind.VLAN: "the device below it is not here",
    Kind.TUNNEL: "a tunnel: hardware does not see the packets inside",
    Kind.OTHER: "neither Ethernet hardware nor built on it",
}
SOFTWARE_ONLY = {
    Kind.BRIDGE: "a bridge: hardware knows only its ports",
    Kind.VLAN: "a VLAN with no port below it",
    Kind.WIFI: "Wi-Fi is in hardware only if `list device` names it",
    Kind.TUNNEL: "a tunnel: hardware does not see the packets inside",
}
"""The kinds that can take part themselves, in software, and why not in hardware."""


class Paths(StrEnum):
    """What a kernel asks of the ways of a flow before it takes it."""

    ON_TOP = "on top"
    """What is on top will do. A bridge that takes part itself decides for each packet by which
    port it leaves, whichever it is.
    """
    WHOLE = "whole"
    """The devices at the bottom of both ways are found, and in the flowtable: since Linux 7.2
    (871df5007eda).
    """
    WHOLE_WITH_WIFI = "whole with Wi-Fi"
    """The same, and mac80211's devices are found: since Linux 7.3 (3ae37eafd366)."""


def paths_of(release: str) -> Paths:
    """By the release of a kernel (uname -r)."""
    major, minor = release.split(".")[:2]
    version = int(major), int("".join(filter(str.isdigit, minor[:2])) or 0)
    if version >= (7, 3):
        return Paths.WHOLE_WITH_WIFI
    return Paths.WHOLE if version >= (7, 2) else Paths.ON_TOP


@frozen
class Link:
    """A network device and what is directly `lower`: a bridge's ports, a VLAN's device.

    Below a PPP device is the one that its PPPoE session in the kernel goes through; other
    PPP (a modem, L2TP, PPPoE in a program) has nothing there that a flowtable could use.
    """

    name: str
    kind: Kind
    up: bool = True
    lower: tuple[str, ...] = ()


@frozen
class LeftOut:
    """A device that cannot take part, and why, in words."""

    name: str
    reason: str


@frozen
class Resolution:
    """All sorted by name; nothing is in two of them.

    `software_only` are interfaces that can take part themselves, as nothing below them can, and
    Wi-Fi below them where the kernel finds a way through it.
    """

    devices: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    software_only: tuple[str, ...] = ()


def resolve(
    links: Iterable[Link], interfaces: Iterable[str], paths: Paths = Paths.ON_TOP
) -> Resolution:
    """The devices below these interfaces (names of links), and what is left out on the way."""
    by_name = {link.name: link for link in links}
    walk = _Walk(by_name, paths)
    for name in interfaces:
        alone = _Walk(by_name, paths)
        alone.down((name,), 0)
        walk.found |= alone.found
        walk.themselves |= alone.themselves
        walk.left_out |= alone.left_out
        link = by_name.get(name)
        if alone.found or alone.themselves or not can_be_in_software(link):
            continue
        if link.kind is Kind.TUNNEL or paths is Paths.ON_TOP:
            walk.themselves.add(name)
        else:
            walk.left_out[name] = "this kernel puts no flow through a bridge into a flowtable"
    taken = walk.found | walk.themselves
    left_out = (LeftOut(n, r) for n, r in sorted(walk.left_out.items()) if n not in taken)
    return Resolution(tuple(sorted(walk.found)), tuple(left_out), tuple(sorted(walk.themselves)))


def can_be_in_software(link: Link | None) -> TypeGuard[Link]:
    """Whether the device could take part itself, whatever is below it."""
    if link is None or not link.up:
        return False
    is_built = link.kind in (Kind.BRIDGE, Kind.VLAN)
    return link.kind in SOFTWARE_ONLY and bool(link.lower or not is_built)


class _Walk:
    def __init__(self, links: dict[str, Link], paths: Paths) -> None:
        self.found: set[str] = set()
        self.themselves: set[str] = set()
        self.left_out: dict[str, str] = {}
        self._links = links
        self._paths = paths
        self._seen: set[tuple[str, str, int]] = set()

    def down(self, path: tuple[str, ...], tags: int) -> None:
        """`path` leads from an interface to the device to look at, `tags` are those between."""
        name = path[-1]
        if (path[0], name, tags) in self._seen:
            return
        self._seen.add((path[0], name, tags))
        link = self._links.get(name)
        if link is None:
            self.left_out[name] = "it does not exist"
        elif not link.up:
            self.left_out[name] = "it is down"
        elif link.kind in BOTTOM:
            self.found.add(name)
        elif link.kind is Kind.PPP and not link.lower:
            self._past_the_kernel(name)
        elif link.kind is Kind.WIFI and self._paths is Paths.WHOLE_WITH_WIFI:
            self.themselves.add(name)
        elif not link.lower or link.kind in (Kind.CONDUIT, Kind.WIFI, Kind.OTHER):
            self.left_out[name] = _REASONS[link.kind]
        elif tags + (link.kind in TAGGING) > MOST_TAGS:
            # The kernel would drop the outer tags; flows are still found on the interface itself.
            self.found.add(path[0])
        else:
            self._through(link, path, tags + (link.kind in TAGGING))

    def _past_the_kernel(self, name: str) -> None:
        """PPP whose packets some program or modem has."""
        if self._paths is not Paths.ON_TOP:
            self.left_out[name] = "PPP of a program: this kernel finds no way through it"
        else:
            self.found.add(name)

    def _through(self, link: Link, path: tuple[str, ...], tags: int) -> None:
        for lower in link.lower:
            if lower in path:
                self.left_out[link.name] = f"it is built on itself, through {lower}"
            else:
                self.down((*path, lower), tags)
