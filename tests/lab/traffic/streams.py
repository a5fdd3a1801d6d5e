# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of TCP connection, seen from the client."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.lab.traffic.connection import Connection, Order
from tests.lab.traffic.patterns import Ending
from tests.lab.traffic.report import Fate
from tests.lab.traffic.wire import (
    CORRUPTED,
    RECEIPT,
    Header,
    PacedSender,
    Payload,
    Service,
    abort_with_reset,
    remember,
)

# Seconds for the other side to finish an orderly close.
_CLOSING_TIME = 10.0


class Stream(Connection, asyncio.Protocol):
    """A TCP connection to a StreamServer."""

    def __init__(self, order: Order, header: Header) -> None:
        super().__init__(order)
        self.header = header
        self.transport: asyncio.Transport | None = None

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, self.order.address, self.order.port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = remember(transport)
        if not self.unfinished:
            self.transport.abort()
            return
        self.opened(transport)
        self.established()
        self.transport.write(self.header.pack())
        self.begin(self.transport)

    def begin(self, transport: asyncio.Transport) -> None:
        """The header is on its way: start the payload."""

    def payload_received(self, data: bytes) -> None:
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self.unfinished:
            self.payload_received(data)

    def eof_received(self) -> bool:
        self.finish(Fate.TRUNCATED, "the server closed early")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        # ETIMEDOUT is the kernel's own verdict that nothing moves any more.
        fate = Fate.STALLED if isinstance(error, TimeoutError) else Fate.RESET
        self.finish(fate, str(error or "aborted"))

    def close(self, orderly: bool) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if not orderly:
            self.transport.abort()
            return
        # The other side's reset may be here already, unread.
        with suppress(OSError):
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(_CLOSING_TIME, self.transport.abort)


class Exchange(Stream):
    """Send `header.up` bytes, then receive `header.down`: a request, or a download."""

    _receipt = b""

    def begin(self, transport: asyncio.Transport) -> None:
        transport.write(Payload(self.header.seed, upward=True).piece(0, self.header.up))

    def payload_received(self, data: bytes) -> None:
        missing = RECEIPT.size - len(self._receipt)
        if missing:
            self._receipt += data[:missing]
            data = data[missing:]
            if len(self._receipt) < RECEIPT.size:
                return
            (confirmed,) = RECEIPT.unpack(self._receipt)
            if confirmed != self.header.up:
                self.finish(Fate.CORRUPTED, "on the way to the server")
                return
            self.sent = confirmed
        if not Payload(self.header.seed, upward=False).matches(self.received, data):
            self.finish(Fate.CORRUPTED, "on the way from the server")
            return
        self.received += len(data)
        self.progress.made(more_due=True)
        if self.received == self.header.down:
            self.finish(Fate.COMPLETED)


class Vanishing(Exchange):
    """An exchange whose client is gone once the answer begins to come."""

    def payload_received(self, data: bytes) -> None:
        super().payload_received(data)
        if self.unfinished and self.received and self.transport:
            abort_with_reset(self.transport)
            self.finish(Fate.COMPLETED, "gone on purpose")


class Upload(Stream):
    """Send `header.up` bytes at a rate; progress is what the server confirms."""

    def __init__(self, order: Order, header: Header, rate: int) -> None:
        super().__init__(order, header)
        self._rate = rate
        self._sender: PacedSender | None = None
        self._receipts = b""

    def begin(self, transport: asyncio.Transport) -> None:
        payload = Payload(self.header.seed, upward=True)
        self._sender = PacedSender(
            transport, payload, self.header.up, self._rate, on_write=self.progress.expect
        )
        self._sender.start()

    def payload_received(self, data: bytes) -> None:
        self._receipts += data
        whole = len(self._receipts) - len(self._receipts) % RECEIPT.size
        if not whole:
            return
        (confirmed,) = RECEIPT.unpack_from(self._receipts, whole - RECEIPT.size)
        self._receipts = self._receipts[whole:]
        if confirmed == CORRUPTED:
            self.finish(Fate.CORRUPTED, "on the way to the server")
            return
        self.sent = confirmed
        self.progress.made(more_due=True)
        if self.sent == self.header.up:
            self.finish(Fate.COMPLETED)

    def pause_writing(self) -> None:
        if self._sender:
            self._sender.pause()

    def resume_writing(self) -> None:
        if self._sender:
            self._sender.resume()

    def close(self, orderly: bool) -> None:
        if self._sender:
            self._sender.stop()
        super().close(orderly)


class KeepAlive(Stream):
    """Idle but for a message every interval, which the server echoes."""

    def __init__(self, order: Order, header: Header, interval: float, size: int) -> None:
        super().__init__(order, header)
        self._interval = interval
        self._size = size
        self._written = 0
        self._payload = Payload(header.seed, upward=True)
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        self._send()

    def prompt(self) -> None:
        if self.transport and self.received == self._written:
            self._send()

    def _send(self) -> None:
        assert self.transport is not None
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._send)
        self.transport.write(self._payload.piece(self._written, self._size))
        self._written += self._size
        self.progress.expect()

    def payload_received(self, data: bytes) -> None:
        if not self._payload.matches(self.received, data):
            self.finish(Fate.CORRUPTED, "on the way there or back")
            return
        self.received += len(data)
        self.sent = self.received
        self.progress.made(more_due=self.received < self._written)

    def close(self, orderly: bool) -> None:
        if self._timer:
            self._timer.cancel()
        super().close(orderly)


def exchange(order: Order, request: int, response: int, rate: int) -> Exchange:
    return Exchange(order, Header(Service.EXCHANGE, order.number, rate, request, response))


def request(order: Order, size: int, response: int, ending: Ending) -> Exchange:
    service = Service.RESET if ending == Ending.SERVER_RESETS else Service.EXCHANGE
    kind = Vanishing if ending == Ending.CLIENT_RESETS else Exchange
    return kind(order, Header(service, order.number, 0, size, response))


def upload(order: Order, size: int, rate: int) -> Upload:
    return Upload(order, Header(Service.UPLOAD, order.number, 0, size, 0), rate)


def keep_alive(order: Order, interval: float, size: int) -> KeepAlive:
    return KeepAlive(order, Header(Service.ECHO, order.number, 0, 0, 0), interval, size)
