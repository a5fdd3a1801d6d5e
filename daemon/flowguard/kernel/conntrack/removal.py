# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the kernel forget single connections."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from flowguard.kernel.conntrack.chunks import in_chunks
from flowguard.kernel.conntrack.flow import Flow, encode_flow
from flowguard.kernel.conntrack.numbers import ANSWER, DELETE, error_of, request
from flowguard.kernel.netlink.codec import NLM_F_ACK


async def delete(flows: Sequence[Flow]) -> None:
    """Forget these, as far as they still are; raises the last refusal when all were tried."""
    refusals = await in_chunks(flows, _delete_some)
    if refusals:
        raise refusals[-1]


def _delete_some(opened: socket.socket, flows: Sequence[Flow]) -> list[OSError]:
    refusals = []
    for flow in flows:
        try:
            _delete(opened, flow)
        except OSError as error:
            refusals.append(error)
    return refusals


def _delete(opened: socket.socket, flow: Flow) -> None:
    opened.send(request(DELETE, NLM_F_ACK, *encode_flow(flow)))
    error = error_of(opened.recv(ANSWER), 0)
    if error.errno not in (0, errno.ENOENT):
        raise OSError(error.errno, f"delete conntrack entry {flow.original}: {error.strerror}")
