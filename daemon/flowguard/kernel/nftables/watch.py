# SPDX-License-Identifier: GPL-2.0-or-later
"""Notices that somebody else deletes our tables, or comes or goes with a flowtable."""

from __future__ import annotations

import struct
from collections.abc import Callable

from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE
from flowguard.kernel.netlink.codec import (
    HEADER,
    NETLINK_NETFILTER,
    NFGEN,
    MalformedMessage,
    Message,
    attributes,
    messages_in,
)
from flowguard.kernel.netlink.multicast import NetlinkTrigger
from flowguard.kernel.nftables.messages import SUBSYSTEM

NFTABLES_GROUP = 1 << 6  # NFNLGRP_NFTABLES is group 7
DELAY = 0.05
OUR_TABLES = {name.encode() + b"\0" for name in (HARDWARE_TABLE, SOFTWARE_TABLE)}
# NFT_MSG_DEL* of tables, chains, rules, sets, set elements and flowtables.
DELETIONS = {2, 5, 8, 11, 14, 24}
FLOWTABLES = {22, 24}  # NFT_MSG_NEWFLOWTABLE and DELFLOWTABLE
SIGNS = (
    HARDWARE_TABLE.encode(),
    *(struct.pack("=H", SUBSYSTEM << 8 | kind) for kind in sorted(FLOWTABLES)),
)
TABLE_NAME = 1  # the first attribute of each of them


class TableWatch:
    """Calls `suspect` (debounced, ~50 ms): our tables may be gone (ask `Converger.intact`), or
    another program's flowtables may be others than before.
    """

    def __init__(
        self,
        own_port: int,
        suspect: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        """Listens on the running loop at once; raises OSError. `own_port` is `Nftables.port`."""
        self._trigger = NetlinkTrigger(
            NETLINK_NETFILTER,
            NFTABLES_GROUP,
            lambda buffer: concerns_us(buffer, own_port),
            suspect,
            failed,
            DELAY,
        )

    def close(self) -> None:
        self._trigger.close()


def concerns_us(buffer: bytes, own_port: int) -> bool:
    """Whether a notification says that somebody else deleted something of ours, or that a
    flowtable of somebody else appeared or vanished.
    """
    if not any(sign in buffer for sign in SIGNS):
        return False  # Set updates of other programs come by the thousand.
    return any(
        _concerns_us(message)
        for message in messages_in(buffer)
        if message.kind >> 8 == SUBSYSTEM and message.port != own_port
    )


def _concerns_us(message: Message) -> bool:
    kind = message.kind & 0xFF
    ours = _table(message) in OUR_TABLES
    return (kind in DELETIONS and ours) or (kind in FLOWTABLES and not ours)


def _table(message: Message) -> bytes:
    start = HEADER.size + NFGEN.size
    try:
        for kind, first, last in attributes(message.data, start, len(message.data)):
            if kind == TABLE_NAME:
                return message.data[first:last]
    except MalformedMessage:
        pass  # Not a message of this kernel interface; the dump decides, not this.
    return b""
