# SPDX-License-Identifier: GPL-2.0-or-later
"""MediaTek's packet processing engine, as its driver shows it in debugfs.

One line a bound entry (mtk_ppe_debugfs.c), among other fields
`orig=SOURCE:PORT->DESTINATION:PORT` and `ib1=HEX`; IPv6 addresses are unabbreviated.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable

from flowguard.core.model import FlowTuple

LINE = re.compile(r" orig=(\S+?)->(\S+)(?:.* ib1=([0-9a-f]+))?")
UDP = 1 << 30  # MTK_FOE_IB1_UDP


def bound_flows(debugfs: str) -> tuple[FlowTuple, ...] | None:
    """The flows of all engines' `ppe*/bind`, or None when there is none to be read."""
    flows: list[FlowTuple] | None = None
    for directory in _directories(debugfs):
        try:
            with open(os.path.join(debugfs, directory, "bind")) as file:
                flows = [*(flows or []), *parse(file)]
        except OSError:
            continue  # No debugfs, no permission, no such engine: nothing to see here.
    return None if flows is None else tuple(flows)


def parse(lines: Iterable[str]) -> list[FlowTuple]:
    """The original direction of each entry; lines that are no entries are skipped."""
    found = (LINE.search(line) for line in lines)
    return [_flow(*match.groups()) for match in found if match]


def _directories(debugfs: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(debugfs) if name.startswith("ppe"))
    except OSError:
        return []


def _flow(source: str, destination: str, ib1: str | None) -> FlowTuple:
    protocol = "udp" if ib1 and int(ib1, 16) & UDP else "tcp"
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
