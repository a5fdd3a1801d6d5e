# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes connections out of the flowtables while the kernel goes on knowing them.

Deleting an entry makes the flow leave, also the engine. But then the next packet may come from
the far end: the router has no connection for it and refuses it. So each entry is made anew at
once, with the same addresses, NAT and mark (ctnetlink_create_conntrack in
net/netfilter/nf_conntrack_netlink.c). Both requests are one datagram: the kernel works through
it inside one call (netlink_rcv_skb in net/netlink/af_netlink.c). What the entry had counted is
lost, and so is the device whose address it is masqueraded by: when that address goes, the entry
stays until it times out.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from flowguard.core.model import FlowTuple
from flowguard.kernel.conntrack.chunks import in_chunks
from flowguard.kernel.conntrack.entry import Entry
from flowguard.kernel.conntrack.flow import SHORT, encode_flow, encode_tuple, encode_zone
from flowguard.kernel.conntrack.numbers import (
    ANSWER,
    CTA_MARK,
    CTA_PROTOINFO,
    CTA_PROTOINFO_TCP,
    CTA_PROTOINFO_TCP_STATE,
    CTA_STATUS,
    CTA_TIMEOUT,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY,
    DELETE,
    HELPER,
    NEW,
    NUMBER,
    TCP,
    request,
)
from flowguard.kernel.netlink.codec import (
    NESTED,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLMSG_ERROR,
    attribute,
    messages_in,
)
from flowguard.kernel.netlink.ip_addresses import packed

NLM_F_EXCL = 0x200
# The sequence numbers of the two requests.
GONE, MADE = 1, 2
CTA_NAT_SRC, CTA_NAT_DST = 6, 13
CTA_NAT_PROTO = 3
# The least and the greatest address, which are the same here.
CTA_NAT_ADDRESSES = {4: (1, 2), 16: (4, 5)}
CTA_PROTONAT_PORT_MIN, CTA_PROTONAT_PORT_MAX = 1, 2
CTA_PROTOINFO_TCP_FLAGS = (4, 5)
# IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED.
KEPT_STATUS, CONFIRMED = 0x2 | 0x4, 0x8
ESTABLISHED = 3
# IP_CT_TCP_FLAG_SACK_PERM and BE_LIBERAL: the windows are not known any more.
TCP_FLAGS = 0x02 | 0x08
# In seconds; the first packet puts in what the kernel is set to.
TCP_TIMEOUT, OTHER_TIMEOUT = 600, 60


async def renew(entries: Sequence[Entry]) -> None:
    """Have these start anew, as far as they still are; raises the last refusal when all were tried.

    Raises MalformedMessage for an entry without both tuples.
    """
    refusals = await in_chunks(entries, _renew_some)
    if refusals:
        raise refusals[-1]


def _renew_some(opened: socket.socket, entries: Sequence[Entry]) -> list[OSError]:
    refusals = []
    for entry in entries:
        # The kernel gives a helper to a new connection only: this one would lose it.
        if entry.status & HELPER:
            continue
        gone, made = renewal(entry)
        answers = _ask(opened, gone + made, {GONE, MADE})
        if answers[GONE] == errno.ENOENT and not answers[MADE]:
            # It had ended before: there is nothing that could go on.
            _ask(opened, gone, {GONE})
            continue
        # There again already: by a packet that came in between.
        error = answers[GONE] or answers[MADE]
        if error not in (0, errno.ENOENT, errno.EEXIST):
            why = f"renew conntrack entry {entry.flow().original}: {os.strerror(error)}"
            refusals.append(OSError(error, why))
    return refusals


def _ask(opened: socket.socket, datagram: bytes, wanted: set[int]) -> dict[int, int]:
    """The errno of each request, by its sequence number; 0 for what was done."""
    opened.send(datagram)
    answers: dict[int, int] = {}
    while not wanted <= answers.keys():
        received = messages_in(opened.recv(ANSWER))
        answers |= {m.sequence: m.error for m in received if m.kind == NLMSG_ERROR}
    return answers


def renewal(entry: Entry) -> tuple[bytes, bytes]:
    """The request that deletes the entry, and the one that makes it anew."""
    flow = entry.flow()
    family, found_by = encode_flow(flow)
    gone = request(DELETE, NLM_F_ACK, family, found_by, GONE)
    # The kernel works NAT out anew, from what a reply would be without it.
    plain = FlowTuple(
        flow.original.protocol,
        flow.original.destination,
        flow.original.source,
        flow.original.destination_port,
        flow.original.source_port,
    )
    body = attribute(CTA_TUPLE_ORIG | NESTED, entry.key)
    body += encode_tuple(CTA_TUPLE_REPLY, plain)[1]
    body += encode_zone(entry.zone)
    body += attribute(CTA_STATUS, NUMBER.pack(entry.status & KEPT_STATUS | CONFIRMED))
    body += attribute(CTA_MARK, NUMBER.pack(entry.mark))
    body += _nat(plain, flow.reply) + _state(entry)
    return gone, request(NEW, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, family, body, MADE)


def _nat(plain: FlowTuple, reply: FlowTuple) -> bytes:
    """What NAT makes of either end, as far as it does."""
    body = b""
    if (plain.destination, plain.destination_port) != (reply.destination, reply.destination_port):
        body += _mapping(CTA_NAT_SRC, reply.destination, reply.destination_port)
    if (plain.source, plain.source_port) != (reply.source, reply.source_port):
        body += _mapping(CTA_NAT_DST, reply.source, reply.source_port)
    return body


def _mapping(kind: int, address: str, port: int) -> bytes:
    end = packed(address)
    least, greatest = CTA_NAT_ADDRESSES[len(end)]
    ports = attribute(CTA_PROTONAT_PORT_MIN, SHORT.pack(port))
    ports += attribute(CTA_PROTONAT_PORT_MAX, SHORT.pack(port))
    body = attribute(least, end) + attribute(greatest, end)
    return attribute(kind | NESTED, body + attribute(CTA_NAT_PROTO | NESTED, ports))


def _state(entry: Entry) -> bytes:
    """How long it may be silent; of TCP that it is established, as all offloaded ones are."""
    if entry.protocol != TCP:
        return attribute(CTA_TIMEOUT, NUMBER.pack(OTHER_TIMEOUT))
    state = attribute(CTA_PROTOINFO_TCP_STATE, bytes((ESTABLISHED,)))
    for kind in CTA_PROTOINFO_TCP_FLAGS:
        state += attribute(kind, bytes((TCP_FLAGS, TCP_FLAGS)))
    tcp = attribute(CTA_PROTOINFO_TCP | NESTED, state)
    protocol = attribute(CTA_PROTOINFO | NESTED, tcp)
    return attribute(CTA_TIMEOUT, NUMBER.pack(TCP_TIMEOUT)) + protocol
