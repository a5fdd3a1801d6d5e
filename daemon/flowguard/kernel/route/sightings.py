# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is behind which port: the bridges' forwarding tables, and the neighbours' addresses.

Both are rtnetlink's neighbour messages (include/uapi/linux/neighbour.h): of the family AF_BRIDGE
they say behind which port a bridge has seen a MAC, of the others which MAC an address has.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

from flowguard.core.records import frozen
from flowguard.kernel.netlink.codec import (
    HEADER,
    MalformedMessage,
    Message,
    attributes,
    messages_in,
)
from flowguard.kernel.netlink.ip_addresses import FAMILIES, written
from flowguard.kernel.netlink.multicast import NetlinkReader
from flowguard.kernel.route.rtnetlink import NETLINK_ROUTE, device_name, dump

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTMGRP_NEIGH = 4
# Family, padding, interface index, state, flags, type.
NEIGHBOUR = struct.Struct("=B3xiHBB")
NDA_DST, NDA_LLADDR, NDA_MASTER = 1, 2, 9
NUD_INCOMPLETE, NUD_FAILED, NUD_NOARP, NUD_PERMANENT = 0x01, 0x20, 0x40, 0x80
NUMBER = struct.Struct("=I")
MAC_SIZE = 6
# fe80::/10, as far as addresses are made of it (RFC 4291, 2.5.6): never forwarded.
LINK_LOCAL = b"\xfe\x80"


@frozen
class Learned:
    """A bridge has seen this MAC behind this port; None: it has forgotten it."""

    bridge: str
    mac: bytes
    port: str | None


@frozen
class Neighbour:
    """The MAC of an address behind a routed device; None: nobody answers any more."""

    device: str
    address: str
    mac: bytes | None


Sighting = Learned | Neighbour


def sightings() -> list[Sighting]:
    """All there are now; raises OSError and MalformedMessage."""
    found: list[Sighting] = []
    for family in (socket.AF_BRIDGE, socket.AF_UNSPEC):
        body = NEIGHBOUR.pack(family, 0, 0, 0, 0)
        for message in dump(RTM_GETNEIGH, body, "neighbours"):
            found += sightings_in(message)
    return found


class NeighbourWatch:
    """Hands on what is seen as it comes; `lost`: the kernel dropped some of it."""

    def __init__(
        self,
        took: Callable[[list[Sighting]], None],
        lost: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        """Listens on the running loop at once; raises OSError."""
        self._took = took
        self._lost = lost
        self._reader = NetlinkReader(NETLINK_ROUTE, RTMGRP_NEIGH, self._received, failed)

    def close(self) -> None:
        self._reader.close()

    def _received(self, datagrams: list[bytes], lost: bool) -> None:
        found: list[Sighting] = []
        for datagram in datagrams:
            for message in messages_in(datagram):
                try:
                    found += sightings_in(message)
                except MalformedMessage:
                    lost = True  # Whatever it was, a look at everything will show.
        if found:
            self._took(found)
        if lost:
            self._lost()


def sightings_in(message: Message) -> Iterator[Sighting]:
    """At most one; raises MalformedMessage."""
    if message.kind not in (RTM_NEWNEIGH, RTM_DELNEIGH):
        return
    start = HEADER.size + NEIGHBOUR.size
    if len(message.data) < start:
        raise MalformedMessage(f"neighbour message of {len(message.data)} bytes")
    family, index, state, _, _ = NEIGHBOUR.unpack_from(message.data, HEADER.size)
    fields = {
        kind: message.data[first:last]
        for kind, first, last in attributes(message.data, start, len(message.data))
    }
    name = device_name(index)
    if not name:
        return
    if family == socket.AF_BRIDGE:
        yield from _learned(message.kind == RTM_NEWNEIGH, name, state, fields)
        return
    address, mac = fields.get(NDA_DST, b""), fields.get(NDA_LLADDR, b"")
    # What goes by itself was not missed: the kernel tidies up, first of all hosts whose packets
    # it does not see any more, because they are in hardware. One that is missed FAILED.
    is_news = message.kind == RTM_NEWNEIGH and not state & (NUD_NOARP | NUD_INCOMPLETE)
    if is_news and len(address) in FAMILIES and not address.startswith(LINK_LOCAL):
        here = not state & NUD_FAILED and len(mac) == MAC_SIZE
        yield Neighbour(name, written(address), mac if here else None)


def _learned(is_new: bool, port: str, state: int, fields: dict[int, bytes]) -> Iterator[Learned]:
    mac, master = fields.get(NDA_LLADDR, b""), fields.get(NDA_MASTER, b"")
    # A permanent entry is the bridge's own; what has no master is the port's own table.
    if state & NUD_PERMANENT or len(mac) != MAC_SIZE or len(master) != NUMBER.size:
        return
    bridge = device_name(NUMBER.unpack(master)[0])
    if bridge:
        yield Learned(bridge, mac, port if is_new else None)
