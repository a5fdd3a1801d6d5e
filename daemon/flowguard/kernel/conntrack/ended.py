# SPDX-License-Identifier: GPL-2.0-or-later
"""The ends of connections, as the kernel announces them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from flowguard.kernel.conntrack.bpf import attach, program
from flowguard.kernel.conntrack.entry import Entry, parse
from flowguard.kernel.conntrack.numbers import DESTROY_GROUP, Filter
from flowguard.kernel.netlink.codec import NETLINK_NETFILTER, MalformedMessage
from flowguard.kernel.netlink.multicast import NetlinkReader

# asm-generic/socket.h; the router architectures agree on it.
SO_RCVBUFFORCE = 33
# The kernel doubles it and charges about 1 KiB an event: two thousand fit.
RECEIVE_BUFFER = 1 << 20
RECEIVE = 1 << 13

log = logging.getLogger(__name__)


class DestroyEvents:
    """Hands on the DESTROY events of the connections that match, some at a time.

    `ended` gets the final counters and TCP state; see Entry for what a timeout there says.
    A connection without a mark has the mark 0. `lost` is called when the kernel dropped
    events or one could not be read: only a sweep then tells which connections are left.
    A connection made while nobody listened for any event may end without one
    (net.netfilter.nf_conntrack_events=2). `failed`: see NetlinkReader.
    """

    def __init__(
        self,
        wanted: Filter,
        ended: Callable[[list[Entry]], None],
        lost: Callable[[], None],
        failed: Callable[[str], None],
        receive_buffer: int = RECEIVE_BUFFER,
    ) -> None:
        """Listens on the running loop at once; raises OSError. `receive_buffer` in bytes."""
        self._ended = ended
        self._lost = lost
        self._complained = False

        def prepare(opened: socket.socket) -> None:
            opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
            # Before the first event can come, so that there is none to filter again.
            if not wanted.accepts_all:
                attach(opened, program(wanted))

        groups = 1 << (DESTROY_GROUP - 1)
        self._reader = NetlinkReader(
            NETLINK_NETFILTER, groups, self._received, failed, prepare, RECEIVE
        )

    def close(self) -> None:
        self._reader.close()

    def _received(self, datagrams: list[bytes], lost: bool) -> None:
        entries: list[Entry] = []
        for datagram in datagrams:
            try:
                entries += parse(datagram).entries
            except MalformedMessage as error:
                lost = True
                self._complain(error)
        if entries:
            self._ended(entries)
        if lost:
            self._lost()

    def _complain(self, error: MalformedMessage) -> None:
        if not self._complained:
            self._complained = True
            log.warning("a conntrack event could not be read: %s", error)
