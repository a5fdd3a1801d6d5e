# SPDX-License-Identifier: GPL-2.0-or-later
"""Looks up single connections."""

from __future__ import annotations

import errno

from flowguard.kernel.conntrack.entry import Entry, parse
from flowguard.kernel.conntrack.flow import Flow, encode_tuple
from flowguard.kernel.conntrack.numbers import CTA_TUPLE_ORIG, GET, error_of, open_socket, request
from flowguard.kernel.netlink.codec import NLMSG_ERROR, RECEIVE, MalformedMessage, messages_in


def find(flow: Flow) -> Entry | None:
    """The connection that packets of the flow's original direction belong to now.

    None when there is none. Raises OSError, MalformedMessage.
    """
    family, original = encode_tuple(CTA_TUPLE_ORIG, flow.original)
    with open_socket() as opened:
        opened.send(request(GET, 0, family, original))
        answer = opened.recv(RECEIVE)
    if any(message.kind == NLMSG_ERROR for message in messages_in(answer)):
        error = error_of(answer, 0)
        if error.errno == errno.ENOENT:
            return None
        raise OSError(error.errno, f"look up {flow.original}: {error.strerror}")
    entries = parse(answer).entries
    if not entries:
        raise MalformedMessage("an answer without a connection")
    return entries[0]
