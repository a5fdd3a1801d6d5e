# SPDX-License-Identifier: GPL-2.0-or-later
"""nf_tables transactions and dumps on netlink sockets of our own.

pyroute2's transaction helpers hide errors, so only its message classes are used (see
`messages`). Wire format: include/uapi/linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count

from flowguard.kernel.netlink.codec import (
    HEADER,
    NETLINK_NETFILTER,
    NFGEN,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    RECEIVE,
    Message,
    messages_in,
)
from flowguard.kernel.nftables.changes import Change, NftablesError, Refusal
from flowguard.kernel.nftables.encoding import encode
from flowguard.kernel.nftables.messages import SUBSYSTEM, Request
from flowguard.kernel.threads import in_thread

__all__ = ["Nftables", "NftablesError", "Refusal"]

BATCH_BEGIN = 0x10
BATCH_END = 0x11

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
# asm-generic/socket.h, and the one router architecture that differs.
SO_SNDBUFFORCE = 31 if os.uname().machine.startswith("mips") else 32

DUMP_ATTEMPTS = 10
PAUSE = 0.01
"""Seconds, longer each time: whoever changes the ruleset again and again takes a while."""


Sent = dict[int, tuple[Change | None, str]]
"""By sequence number: which change a request belongs to, and which part of it that is."""


class Nftables:
    """Transactions and dumps; open it once, share it, close it at the end.

    Dumps may be asked for in any thread.
    """

    def __init__(self) -> None:
        """Raises OSError when there is no nf_tables."""
        self._writer = _open_socket()
        self._reader = _open_socket()
        self._sequences = count(1)
        self._writing = asyncio.Lock()
        self._reading = threading.Lock()

    @property
    def port(self) -> int:
        """Our netlink port id: notifications of our own changes carry it."""
        return int(self._writer.getsockname()[0])

    def close(self) -> None:
        self._writer.close()
        self._reader.close()

    async def commit(self, changes: Sequence[Change]) -> None:
        """Make all changes or none; raises NftablesError when the kernel refused.

        The kernel works inside send(2), up to a third of a second on a loaded router and
        for ever behind a stuck driver, so it happens in a thread and the loop stays live.
        Cancelling stops the waiting only; the next commit waits for this one.
        """
        await self._transact(changes, end=True)

    async def dry_run(self, changes: Sequence[Change]) -> None:
        """Let the kernel prepare and undo it all, as `nft --check` does."""
        await self._transact(changes, end=False)

    def get(self, request: Request) -> Message | None:
        """One object, or None when there is no such thing; raises OSError otherwise."""
        with self._reading:
            (reply,) = self._ask(request, 0)
        if reply.kind != NLMSG_ERROR:
            return reply
        if reply.error in (0, errno.ENOENT):
            return None
        raise OSError(reply.error, f"{request.what}: {os.strerror(reply.error)}")

    def dump(self, request: Request) -> list[Message]:
        """All objects, as one consistent view; raises OSError, EINTR when there was none."""
        for attempt in range(DUMP_ATTEMPTS):
            with self._reading:
                replies = list(self._ask(request, NLM_F_DUMP))
            if not any(reply.flags & NLM_F_DUMP_INTR for reply in replies):
                return _objects(request, replies)
            time.sleep(PAUSE * attempt)
        raise OSError(errno.EINTR, f"{request.what}: it changes faster than it can be read")

    def _ask(self, request: Request, flags: int) -> Iterator[Message]:
        sequence = self._next_sequence()
        self._reader.send(_stamped(request.data, sequence, flags))
        while True:
            # The kernel answers within send and recv; it never lets a reader wait.
            for reply in messages_in(self._reader.recv(RECEIVE)):
                if reply.sequence != sequence:
                    continue
                yield reply
                if not flags & NLM_F_DUMP or reply.kind in (NLMSG_DONE, NLMSG_ERROR):
                    return

    async def _transact(self, changes: Sequence[Change], end: bool) -> None:
        if not changes:
            return

        def work() -> tuple[bool, list[Refusal]]:
            batch, sent = self._batch(changes, end)
            return _exchange(self._writer, batch, sent)

        await self._writing.acquire()
        acknowledged, refusals = await in_thread(work, "nf_tables", self._writing.release)
        if refusals:
            raise NftablesError(refusals)
        # The last request's own acknowledgement says the kernel read the batch to its end.
        if not acknowledged:
            raise NftablesError([Refusal(None, errno.EPROTO)])

    def _batch(self, changes: Sequence[Change], end: bool) -> tuple[bytes, Sent]:
        sent: Sent = {}
        parts = [self._frame(BATCH_BEGIN, sent)]
        requests = [(change, request) for change in changes for request in encode(change)]
        for index, (change, request) in enumerate(requests):
            sequence = self._next_sequence()
            sent[sequence] = (change, request.what)
            last = index == len(requests) - 1
            parts.append(_stamped(request.data, sequence, NLM_F_ACK if last else 0))
        if end:
            parts.append(self._frame(BATCH_END, sent))
        return b"".join(parts), sent

    def _frame(self, kind: int, sent: Sent) -> bytes:
        sequence = self._next_sequence()
        sent[sequence] = (None, "")
        body = NFGEN.pack(0, 0, SUBSYSTEM)
        length = HEADER.size + len(body)
        return HEADER.pack(length, kind, NLM_F_REQUEST, sequence, 0) + body

    def _next_sequence(self) -> int:
        return next(self._sequences) & 0xFFFFFFFF


def _objects(request: Request, replies: Sequence[Message]) -> list[Message]:
    for reply in replies:
        if reply.kind == NLMSG_ERROR and reply.error not in (0, errno.ENOENT):
            raise OSError(reply.error, f"{request.what}: {os.strerror(reply.error)}")
    return [reply for reply in replies if reply.kind not in (NLMSG_ERROR, NLMSG_DONE)]


def _open_socket() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    # Without this every acknowledgement carries a copy of its request.
    opened.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    opened.bind((0, 0))
    return opened


def _stamped(data: bytes, sequence: int, flags: int) -> bytes:
    length, kind, own_flags, _, port = HEADER.unpack_from(data)
    header = HEADER.pack(length, kind, own_flags | flags, sequence, port)
    return header + data[HEADER.size :]


def _exchange(writer: socket.socket, batch: bytes, sent: Sent) -> tuple[bool, list[Refusal]]:
    """Send one batch; whether its last request was acknowledged, and what was refused."""
    if len(batch) > writer.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2:
        writer.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * len(batch))
    last = max((sequence for sequence, (change, _) in sent.items() if change), default=0)
    acknowledged = False
    refusals: list[Refusal] = []
    # All answers are queued when send returns: the kernel works inside the call.
    writer.send(batch)
    while True:
        try:
            answers = writer.recv(RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return acknowledged, refusals
        except OSError as error:
            if error.errno != errno.ENOBUFS or not refusals:
                raise
            continue  # More refusals than fit; those read so far say enough.
        for answer in messages_in(answers):
            if answer.kind != NLMSG_ERROR or answer.sequence not in sent:
                continue
            acknowledged |= answer.sequence == last
            if answer.error:
                change, part = sent[answer.sequence]
                refusals.append(Refusal(change, answer.error, part))
