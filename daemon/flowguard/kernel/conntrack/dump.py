# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps of the connection table, filtered by the kernel (Linux 5.15+) and again here."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator

from flowguard.kernel.conntrack.entry import Entry, matching, parse
from flowguard.kernel.conntrack.numbers import (
    GET,
    Filter,
    error_of,
    filter_attributes,
    open_socket,
    request,
)
from flowguard.kernel.netlink.codec import (
    HEADER,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    MalformedMessage,
)

# The kernel fills at most 32 KiB of it, some 110 connections.
RECEIVE = 1 << 15


class DumpInterrupted(Exception):
    """The table changed, or messages were lost, while it was read."""


async def sweep(wanted: Filter) -> AsyncGenerator[list[Entry], None]:
    """The connections that match, some 110 at a time so that the loop gets its turns.

    Raises OSError, MalformedMessage, and DumpInterrupted when the rest is not to be
    trusted; what came before then is right as far as it goes.
    """
    loop = asyncio.get_running_loop()
    asking = request(GET, NLM_F_DUMP, socket.AF_UNSPEC, filter_attributes(wanted))
    with open_socket() as opened:
        # The kernel fills the first datagram inside send and the others inside recv. Where
        # few connections match, each can take as long as a walk over the whole table.
        await loop.run_in_executor(None, opened.send, asking)
        while True:
            datagram = await loop.run_in_executor(None, _receive, opened)
            entries, flags, rest = parse(datagram)
            if flags & NLM_F_DUMP_INTR:
                raise DumpInterrupted
            if entries := matching(entries, wanted):
                yield entries
            if rest < len(datagram) and _is_end(datagram, rest):
                return
            await asyncio.sleep(0)


def _receive(opened: socket.socket) -> bytes:
    try:
        return opened.recv(RECEIVE)
    except OSError as error:
        if error.errno == errno.ENOBUFS:
            raise DumpInterrupted from error
        raise


def _is_end(datagram: bytes, offset: int) -> bool:
    """Whether netlink's own message there ends the dump; raises OSError."""
    _, kind, _, _, _ = HEADER.unpack_from(datagram, offset)
    if kind == NLMSG_ERROR:
        if len(datagram) < offset + HEADER.size + 4:
            raise MalformedMessage("netlink error without a number")
        error = error_of(datagram, offset)
        raise OSError(error.errno, f"read the connection table: {error.strerror}")
    return bool(kind == NLMSG_DONE)
