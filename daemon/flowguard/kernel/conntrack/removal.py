# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the kernel forget single connections."""

from __future__ import annotations

import errno

from flowguard.kernel.conntrack.flow import Flow, encode_tuple
from flowguard.kernel.conntrack.numbers import (
    CTA_TUPLE_ORIG,
    DELETE,
    error_of,
    open_socket,
    request,
)
from flowguard.kernel.netlink.codec import NLM_F_ACK, RECEIVE


def delete(flow: Flow) -> bool:
    """Forget one connection; False when it was gone already. Raises OSError."""
    family, original = encode_tuple(CTA_TUPLE_ORIG, flow.original)
    with open_socket() as opened:
        opened.send(request(DELETE, NLM_F_ACK, family, original))
        answer = opened.recv(RECEIVE)
    error = error_of(answer, 0)
    if error.errno in (0, errno.ENOENT):
        return error.errno == 0
    raise OSError(error.errno, f"delete conntrack entry {flow.original}: {error.strerror}")
