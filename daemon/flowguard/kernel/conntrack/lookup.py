# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks up single connections."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from flowguard.kernel.conntrack.chunks import in_chunks
from flowguard.kernel.conntrack.entry import Entry, parse
from flowguard.kernel.conntrack.flow import Flow, encode_flow
from flowguard.kernel.conntrack.numbers import ANSWER, GET, error_of, request
from flowguard.kernel.netlink.codec import NLMSG_ERROR, MalformedMessage, messages_in


async def find(flows: Sequence[Flow]) -> list[Entry | None]:
    """The connections that packets of the flows' original directions belong to now.

    None for those who have none. Raises OSError, MalformedMessage.
    """
    return await in_chunks(flows, lambda opened, some: [_find(opened, flow) for flow in some])


def _find(opened: socket.socket, flow: Flow) -> Entry | None:
    opened.send(request(GET, 0, *encode_flow(flow)))
    answer = opened.recv(ANSWER)
    if any(message.kind == NLMSG_ERROR for message in messages_in(answer)):
        error = error_of(answer, 0)
        if error.errno == errno.ENOENT:
            return None
        raise OSError(error.errno, f"look up {flow.original}: {error.strerror}")
    entries = parse(answer).entries
    if not entries:
        raise MalformedMessage("an answer without a connection")
    return entries[0]
