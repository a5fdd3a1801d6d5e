# SPDX-License-Identifier: GPL-2.0-or-later
"""What one connection has asked and waits for: sequence numbers, answers, time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flowguard.core.records import mutable
from flowguard.ubus.blob import BlobError
from flowguard.ubus.errors import UbusError
from flowguard.ubus.wire import Attributes, Message, MessageType, Status, parse

DEFAULT_TIMEOUT = 5.0
_SEQUENCES = 1 << 16


@mutable
class _Request:
    """Answered by any number of data messages, then one status, all from `peer`."""

    peer: int
    done: asyncio.Future[None]
    data: Callable[[Attributes], None]


class Requests:
    """`ask` sends by `send`; `answered` gets what comes back, `end` says that nothing will."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._waiting: dict[int, _Request] = {}
        self._sequence = 0
        self._ended = False

    async def ask(
        self,
        kind: MessageType,
        peer: int,
        body: bytes,
        timeout: float | None = DEFAULT_TIMEOUT,
        data: Callable[[Attributes], None] | None = None,
    ) -> list[Attributes]:
        """The data messages of the answer; with `data`, that gets them as they come."""
        if self._ended:
            raise UbusError(Status.CONNECTION_FAILED)
        replies: list[Attributes] = []
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sequence = self._next_sequence()
        self._waiting[sequence] = _Request(peer, done, data or replies.append)
        try:
            self._send(Message(kind, sequence, peer, body))
            await within(timeout, done)
        finally:
            self._waiting.pop(sequence, None)
        return replies

    def tell(self, kind: MessageType, peer: int, body: bytes) -> None:
        """Send what has no answer, or one that nobody waits for."""
        self._send(Message(kind, self._next_sequence(), peer, body))

    def answered(self, message: Message) -> None:
        request = self._waiting.get(message.sequence)
        # Any client may send an answer to any other; ubusd only vouches for whom it is from.
        if request is None or request.peer != message.peer or request.done.done():
            return
        try:
            reply = parse(message.body)
            if message.kind == MessageType.DATA:
                request.data(reply)
                return
            status = Status.INVALID_ARGUMENT if reply.status is None else reply.status
        except BlobError:
            status = Status.PARSE_ERROR
        if status == Status.OK:
            request.done.set_result(None)
        else:
            request.done.set_exception(UbusError(status))

    def end(self, reason: str) -> None:
        """Whoever waits gets CONNECTION_FAILED, and so does who asks from now on."""
        self._ended = True
        for request in self._waiting.values():
            if not request.done.done():
                request.done.set_exception(UbusError(Status.CONNECTION_FAILED, reason))

    def _next_sequence(self) -> int:
        if len(self._waiting) >= _SEQUENCES - 1:
            raise UbusError(Status.NO_MEMORY)
        while True:
            self._sequence = self._sequence % (_SEQUENCES - 1) + 1
            if self._sequence not in self._waiting:
                return self._sequence


async def within(timeout: float | None, done: asyncio.Future[None]) -> None:
    """Wait for it so many seconds at most (None: without end), then raise TIMEOUT."""
    try:
        async with asyncio.timeout(timeout):
            await done
    except TimeoutError:
        raise UbusError(Status.TIMEOUT) from None
