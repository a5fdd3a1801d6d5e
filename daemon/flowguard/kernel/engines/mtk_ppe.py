# SPDX-License-Identifier: GPL-2.0-or-later
"""MediaTek's packet processing engine, as its driver shows it in debugfs.

`ppe*/entries` has one line for each entry in use, `ppe*/bind` for those by which the engine
forwards (drivers/net/ethernet/mediatek/mtk_ppe_debugfs.c, Linux 5.19 to 6.12):

    00a1f BND IPv4 5T orig=SOURCE:PORT->DESTINATION:PORT new=SOURCE:PORT->DESTINATION:PORT
    eth=MAC->MAC etype=0800 vlan=0,0 ib1=HEX ib2=HEX packets=NUMBER bytes=NUMBER

The state is UNB (known, not forwarded), BND or FIN; INV is not shown. `new` is missing for
IPv6, whose addresses are unabbreviated; ports are missing for bare routes. The counters came
with Linux 6.4, and are always 0 on engines that do not count (mt7621).

Reading is not free of effects: the mainline driver reads the engine's counters by clearing
them, so what an entry carried since the kernel last asked is missing from conntrack's
counters afterwards (mtk_foe_entry_get_mib). Hence: look rarely.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import ClassVar, TextIO

from flowguard.core.model import FlowTuple
from flowguard.core.records import frozen
from flowguard.kernel.clock import monotonic
from flowguard.kernel.threads import in_thread

LINE = re.compile(
    r"[0-9a-f]+ ([A-Z]{3})(?: +[^ ]+)*? orig=([^- ]+)->([^ ]+)(?: new=([^- ]+)->([^ ]+))?"
    r"(?:(?: [^ ]+)*? ib1=([0-9a-f]+))?(?:(?: [^ ]+)*? packets=([0-9]+))?"
)
BOUND = "BND"
UDP = 1 << 30  # MTK_FOE_IB1_UDP
ENTRIES, BIND = "entries", "bind"
# Bytes at a time, some 40 entries; reading one that NAT rewrites takes 20 us on a PC.
CHUNK = 1 << 13
# A full table takes a slow router some seconds.
HANGS_AFTER = 30.0


@frozen
class EngineEntry:
    """One direction of a flow in the engine; `bound` means that it forwards by it.

    `flow` is what arrives and `rewritten` what leaves, where NAT is told. `packets` is None
    where the driver prints no counter.
    """

    flow: FlowTuple
    rewritten: FlowTuple | None
    bound: bool
    packets: int | None


def paths(debugfs: str, name: str) -> list[str]:
    """This file of each engine that has it; none without debugfs, permission or engine."""
    try:
        engines = sorted(entry for entry in os.listdir(debugfs) if entry.startswith("ppe"))
    except OSError:
        return []
    found = (os.path.join(debugfs, engine, name) for engine in engines)
    return [path for path in found if os.access(path, os.R_OK)]


async def sweep(debugfs: str, name: str) -> AsyncGenerator[list[EngineEntry], None]:
    """The entries in chunks, the loop having its turn in between; raises OSError."""
    for path in paths(debugfs, name):
        reading = _Reading(path)
        try:
            while lines := await reading.more():
                yield list(parse(lines))
        finally:
            reading.close()


class _Reading:
    """One table as it is read, in threads of its own: a driver may never come back.

    Where one hangs no other is tried: one thread is enough to lose.
    """

    _under_way: ClassVar[dict[int, float]] = {}

    def __init__(self, path: str) -> None:
        now = monotonic()
        if any(now - begun > HANGS_AFTER for begun in _Reading._under_way.values()):
            raise OSError(errno.EBUSY, "an earlier look at the engine has not come back")
        self._file = _open(path)
        self._closed = False

    async def more(self) -> list[str]:
        """Some lines; the driver prints its whole table inside the first read."""
        _Reading._under_way[id(self)] = monotonic()
        return await in_thread(lambda: self._file.readlines(CHUNK), "engine", self._came_back)

    def close(self) -> None:
        """At once, or when the read that is under way comes back."""
        self._closed = True
        if id(self) not in _Reading._under_way:
            self._file.close()

    def _came_back(self) -> None:
        del _Reading._under_way[id(self)]
        if self._closed:
            self._file.close()


def parse(lines: Iterable[str]) -> Iterator[EngineEntry]:
    """An entry of each line, as it is asked for; lines that are no entries are skipped."""
    for match in map(LINE.match, lines):
        if match:
            try:
                yield _entry(*match.groups())
            except (ValueError, OSError):
                continue  # Not an address or a number: a layout that is not known here.


def _entry(
    state: str,
    source: str,
    destination: str,
    new_source: str | None,
    new_destination: str | None,
    ib1: str | None,
    packets: str | None,
) -> EngineEntry:
    protocol = "udp" if ib1 and int(ib1, 16) & UDP else "tcp"
    rewritten = None
    if new_source and new_destination:
        rewritten = _flow(protocol, new_source, new_destination)
    return EngineEntry(
        _flow(protocol, source, destination),
        rewritten,
        state == BOUND,
        None if packets is None else int(packets),
    )


def _flow(protocol: str, source: str, destination: str) -> FlowTuple:
    source_address, source_port = _endpoint(source)
    destination_address, destination_port = _endpoint(destination)
    return FlowTuple(protocol, source_address, destination_address, source_port, destination_port)


def _endpoint(text: str) -> tuple[str, int]:
    """Address and port; entries of bare routes have no port."""
    groups = text.count(":")
    if groups in (0, 7):
        return _address(text), 0
    address, _, port = text.rpartition(":")
    return _address(address), int(port)


def _address(text: str) -> str:
    """The short form, as conntrack's addresses have it."""
    if ":" not in text:
        return text
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text))


def _open(path: str) -> TextIO:
    return open(path, encoding="ascii", errors="replace")
