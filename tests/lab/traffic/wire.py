# SPDX-License-Identifier: GPL-2.0-or-later
"""What client and server say to each other.

A TCP client opens with a header. The payload that follows, either way, is a fixed
random-looking stream that starts at a place chosen by the connection's seed: lost,
altered or crossed bytes show at once. The server confirms payload with receipts, each
the count of bytes that arrived sound so far.
"""

from __future__ import annotations

import asyncio
import math
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import cast
from weakref import WeakSet

RECEIPT = struct.Struct("!Q")
# A receipt that says: your payload did not arrive as you sent it.
CORRUPTED = 2**64 - 1
# A size that never ends.
ENDLESS = 2**63

_MAGIC = b"fgL1"
_HEADER = struct.Struct("!4sBIIQQ")
_DATAGRAM = struct.Struct("!4sII")

_PERIOD = 65521
_LONGEST = 65536
_BLOCK = random.Random(0).randbytes(_PERIOD)
_STREAM = memoryview(_BLOCK * 2 + _BLOCK[: _LONGEST - _PERIOD])


# Linux, asm-generic/socket.h: as SO_RCVBUF, but beyond the system's limit.
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 << 20


def enlarge_buffer(transport: asyncio.BaseTransport) -> None:
    """Let datagrams wait for a slow agent, so that what is lost was lost on the way."""
    endpoint: socket.socket = transport.get_extra_info("socket")
    endpoint.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)


_streams: WeakSet[asyncio.Transport] = WeakSet()


def remember(transport: asyncio.BaseTransport) -> asyncio.Transport:
    """Take a TCP connection that has just been opened, so that `reset_all` ends it."""
    stream = cast(asyncio.Transport, transport)
    _streams.add(stream)
    return stream


def reset_all() -> None:
    """End every TCP connection of this process, on either side of it, with nothing to follow.

    One that is only closed goes on for minutes when its last bytes are not confirmed.
    """
    for transport in list(_streams):
        if transport.get_extra_info("socket").fileno() >= 0:
            abort_with_reset(transport)


def abort_with_reset(transport: asyncio.Transport) -> None:
    """Close so that the other side gets RST, never FIN (socket(7), SO_LINGER)."""
    endpoint: socket.socket = transport.get_extra_info("socket")
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Service(IntEnum):
    """EXCHANGE: take `up` bytes, then send `down`. UPLOAD: receipts. ECHO: everything back.

    RESET: as EXCHANGE, but the payload that arrives is answered with a reset.
    """

    EXCHANGE = 1
    UPLOAD = 2
    ECHO = 3
    RESET = 4


@dataclass(frozen=True, slots=True)
class Header:
    """`rate` is for what the server sends, in bytes a second; 0 is as fast as it goes."""

    service: Service
    seed: int
    rate: int
    up: int
    down: int

    SIZE = _HEADER.size

    def pack(self) -> bytes:
        return _HEADER.pack(_MAGIC, self.service, self.seed, self.rate, self.up, self.down)

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Raises ValueError when it is none."""
        magic, service, seed, rate, up, down = _HEADER.unpack(data)
        if magic != _MAGIC:
            raise ValueError("not a header of this traffic generator")
        return cls(Service(service), seed, rate, up, down)


class Payload:
    """The stream of one direction: `upward` from client to server."""

    def __init__(self, seed: int, upward: bool) -> None:
        self._start = (seed * 2 + upward) * 7919

    def piece(self, offset: int, length: int) -> memoryview:
        """`length` bytes at `offset`; at most 64 KiB."""
        at = (self._start + offset) % _PERIOD
        return _STREAM[at : at + length]

    def matches(self, offset: int, data: bytes) -> bool:
        return all(
            data[at : at + _LONGEST] == self.piece(offset + at, min(_LONGEST, len(data) - at))
            for at in range(0, len(data), _LONGEST)
        )


@dataclass(frozen=True, slots=True)
class Datagram:
    """A numbered datagram with `size` bytes of payload; the echo is the same."""

    seed: int
    number: int
    size: int

    def pack(self) -> bytes:
        payload = Payload(self.seed, upward=True).piece(self.number, self.size)
        return _DATAGRAM.pack(_MAGIC, self.seed, self.number) + payload

    @classmethod
    def unpack(cls, data: bytes) -> Datagram:
        """Raises ValueError when it is none, or its payload is not what was sent."""
        if len(data) < _DATAGRAM.size:
            raise ValueError("too short")
        magic, seed, number = _DATAGRAM.unpack_from(data)
        payload = data[_DATAGRAM.size :]
        if magic != _MAGIC or not Payload(seed, upward=True).matches(number, payload):
            raise ValueError("altered")
        return cls(seed, number, len(payload))


class PacedSender:
    """Writes a payload to a transport at a rate, no faster than the transport takes it.

    `on_write` is called after each write.
    """

    # Few wake-ups, and many connections in each: hundreds share an emulated core.
    _WRITES_A_SECOND = 2
    _WAKE_UPS_A_SECOND = 10
    _SMALLEST = 1448
    _LARGEST = 32768

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        payload: Payload,
        size: int,
        rate: int,
        on_write: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._payload = payload
        self._size = size
        self._piece = self._LARGEST
        self._interval = 0.0
        if rate:
            wanted = rate // self._WRITES_A_SECOND
            self._piece = max(self._SMALLEST, min(self._LARGEST, wanted))
            self._interval = self._piece / rate
        self._on_write = on_write
        self._written = 0
        self._paused = False
        self._due = 0.0
        self._timer: asyncio.Handle | None = None

    def start(self) -> None:
        self._turn()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._timer is None:
            self._turn()

    def stop(self) -> None:
        self._size = self._written
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        self._timer = None
        left = self._size - self._written
        if self._paused or not left:
            return
        length = min(self._piece, left)
        self._transport.write(self._payload.piece(self._written, length))
        self._written += length
        self._timer = self._schedule()
        self._on_write()

    def _schedule(self) -> asyncio.Handle:
        loop = asyncio.get_running_loop()
        if not self._interval:
            return loop.call_soon(self._turn)
        # Missed turns are not made up for: that would be a burst.
        self._due = max(self._due, loop.time() - self._interval) + self._interval
        wake_up = math.ceil(self._due * self._WAKE_UPS_A_SECOND) / self._WAKE_UPS_A_SECOND
        return loop.call_at(wake_up, self._turn)
