# SPDX-License-Identifier: GPL-2.0-or-later
"""Notices that somebody else deletes or changes our tables."""

from __future__ import annotations

from collections.abc import Callable

from flowguard.core.tables import (
    HARDWARE_TABLE,
    SOFTWARE_TABLE,
)
from flowguard.offload.nfnetlink import (
    HEADER,
    NETLINK_NETFILTER,
    NFGEN,
    SUBSYSTEM,
    MalformedMessage,
    Message,
    attributes,
    messages_in,
)
from flowguard.sensors.netlink import NetlinkTrigger

NFTABLES_GROUP = 1 << 6  # NFNLGRP_NFTABLES is group 7
DELAY = 0.05
OUR_TABLES = {name.encode() + b"\0" for name in (HARDWARE_TABLE, SOFTWARE_TABLE)}
# NFT_MSG_DEL* of tables, chains, rules, sets, set elements and flowtables.
DELETIONS = {2, 5, 8, 11, 14, 24}
TABLE_NAME = 1  # the first attribute of each of them


class TableWatch:
    """Calls `suspect` (debounced, ~50 ms) when our tables may be gone: ask `Converger.intact`."""

    def __init__(self, own_port: int, suspect: Callable[[], None]) -> None:
        """Listens on the running loop at once; `own_port` is `Nftables.port`."""
        self._trigger = NetlinkTrigger(
            NETLINK_NETFILTER,
            NFTABLES_GROUP,
            lambda buffer: touches_ours(buffer, own_port),
            suspect,
            DELAY,
        )

    def close(self) -> None:
        self._trigger.close()


def touches_ours(buffer: bytes, own_port: int) -> bool:
    """Whether a notification says that somebody else deleted something of ours."""
    if HARDWARE_TABLE.encode() not in buffer:
        return False  # Set updates of other programs come by the thousand.
    return any(
        message.kind >> 8 == SUBSYSTEM
        and message.kind & 0xFF in DELETIONS
        and message.port != own_port
        and _table(message) in OUR_TABLES
        for message in messages_in(buffer)
    )


def _table(message: Message) -> bytes:
    start = HEADER.size + NFGEN.size
    try:
        for kind, first, last in attributes(message.data, start, len(message.data)):
            if kind == TABLE_NAME:
                return message.data[first:last]
    except MalformedMessage:
        pass  # Not a message of this kernel interface; the dump decides, not this.
    return b""
