# SPDX-License-Identifier: GPL-2.0-or-later
"""nf_tables transactions and dumps on netlink sockets of our own.

pyroute2's transaction helpers hide errors, so only its message classes are used (see
`messages`). Wire format: include/uapi/linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from flowguard.core.records import frozen
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

SUBSYSTEM = 10
FAMILY_INET = 1


BATCH_BEGIN = 0x10
BATCH_END = 0x11

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
# asm-generic/socket.h, and the one router architecture that differs.
SO_SNDBUFFORCE = 31 if os.uname().machine.startswith("mips") else 32

DUMP_ATTEMPTS = 10


@frozen
class Request:
    """One encoded nf_tables message.

    `what` says in words what it asks for; `binds` are the devices whose drivers it binds.
    """

    what: str
    data: bytes
    binds: tuple[str, ...] = ()


@frozen
class Refusal:
    request: Request | None
    errno: int

    def __str__(self) -> str:
        what = self.request.what if self.request else "nf_tables transaction"
        return f"{what}: {os.strerror(self.errno)}"


class NftablesError(Exception):
    """The kernel refused the transaction and kept everything as it was."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(map(str, refusals)))
        self.refusals = tuple(refusals)

    @property
    def errno(self) -> int:
        return self.refusals[0].errno


class Nftables:
    """Transactions and dumps; open it once, share it, close it at the end."""

    def __init__(self) -> None:
        self._writer = _open_socket()
        self._reader = _open_socket()
        self._sequence = 0
        self._lock = asyncio.Lock()

    @property
    def port(self) -> int:
        """Our netlink port id: notifications of our own changes carry it."""
        return int(self._writer.getsockname()[0])

    def close(self) -> None:
        self._writer.close()
        self._reader.close()

    async def commit(self, requests: Sequence[Request]) -> None:
        """Apply all requests or none; raises NftablesError when the kernel refused.

        The kernel works inside send(2), up to a third of a second on a loaded router and
        for ever behind a stuck driver, so it happens in a thread and the loop stays live.
        Cancelling stops the waiting only; the next commit waits for this one.
        """
        await self._transact(requests, end=True)

    async def dry_run(self, requests: Sequence[Request]) -> None:
        """Let the kernel prepare and undo it all, as `nft --check` does."""
        await self._transact(requests, end=False)

    def get(self, request: Request) -> Message | None:
        """One object, or None when there is no such thing; raises OSError otherwise."""
        (reply,) = self._ask(request, 0)
        if reply.kind != NLMSG_ERROR:
            return reply
        if reply.error in (0, errno.ENOENT):
            return None
        raise OSError(reply.error, f"{request.what}: {os.strerror(reply.error)}")

    def dump(self, request: Request) -> list[Message]:
        """All objects, as one consistent view; raises OSError."""
        for _ in range(DUMP_ATTEMPTS):
            replies = list(self._ask(request, NLM_F_DUMP))
            if not any(reply.flags & NLM_F_DUMP_INTR for reply in replies):
                break
        for reply in replies:
            if reply.kind == NLMSG_ERROR and reply.error not in (0, errno.ENOENT):
                raise OSError(reply.error, f"{request.what}: {os.strerror(reply.error)}")
        return [reply for reply in replies if reply.kind not in (NLMSG_ERROR, NLMSG_DONE)]

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

    async def _transact(self, requests: Sequence[Request], end: bool) -> None:
        await self._lock.acquire()
        batch, sent = self._batch(requests, end)
        acknowledged, refusals = await _in_thread(
            lambda: _exchange(self._writer, batch, sent), self._lock.release
        )
        if refusals:
            raise NftablesError(refusals)
        # The last request's own acknowledgement says the kernel read the batch to its end.
        if requests and not acknowledged:
            raise NftablesError([Refusal(None, errno.EPROTO)])

    def _batch(
        self, requests: Sequence[Request], end: bool
    ) -> tuple[bytes, dict[int, Request | None]]:
        sent: dict[int, Request | None] = {}
        parts = [self._frame(BATCH_BEGIN, sent)]
        for index, request in enumerate(requests):
            sequence = self._next_sequence()
            sent[sequence] = request
            last = index == len(requests) - 1
            parts.append(_stamped(request.data, sequence, NLM_F_ACK if last else 0))
        if end:
            parts.append(self._frame(BATCH_END, sent))
        return b"".join(parts), sent

    def _frame(self, kind: int, sent: dict[int, Request | None]) -> bytes:
        sequence = self._next_sequence()
        sent[sequence] = None
        body = NFGEN.pack(0, 0, SUBSYSTEM)
        length = HEADER.size + len(body)
        return HEADER.pack(length, kind, NLM_F_REQUEST, sequence, 0) + body

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return self._sequence


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


def _exchange(
    writer: socket.socket, batch: bytes, sent: dict[int, Request | None]
) -> tuple[bool, list[Refusal]]:
    """Send one batch; whether its last request was acknowledged, and what was refused."""
    if len(batch) > writer.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2:
        writer.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * len(batch))
    last = max((sequence for sequence, request in sent.items() if request), default=0)
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
                refusals.append(Refusal(sent[answer.sequence], answer.error))


async def _in_thread(
    call: Callable[[], tuple[bool, list[Refusal]]], finished: Callable[[], None]
) -> tuple[bool, list[Refusal]]:
    """The result of a call that the kernel may hold up; `finished` runs on the loop after it.

    The thread is a daemon one: a driver stuck in the kernel must not keep us from ending.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[tuple[bool, list[Refusal]]] = loop.create_future()

    def release(done: asyncio.Future[tuple[bool, list[Refusal]]]) -> None:
        finished()
        done.exception()  # Seen, also when whoever asked was cancelled meanwhile.

    result.add_done_callback(release)

    def work() -> None:
        try:
            settle: Callable[[], None] = partial(result.set_result, call())
        except Exception as error:
            settle = partial(result.set_exception, error)
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=work, name="nf_tables", daemon=True).start()
    return await asyncio.shield(result)
