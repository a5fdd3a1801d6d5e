# SPDX-License-Identifier: GPL-2.0-or-later
"""The server that every host runs, over TCP and UDP."""

from __future__ import annotations

import asyncio
from typing import cast

from tests.lab.traffic.wire import (
    CORRUPTED,
    RECEIPT,
    Header,
    PacedSender,
    Payload,
    Service,
    abort_with_reset,
    enlarge_buffer,
    remember,
)


async def serve(port: int) -> None:
    """Start serving on all addresses of the namespace; returns once that works."""
    loop = asyncio.get_running_loop()
    await loop.create_server(StreamServer, ("0.0.0.0", "::"), port, backlog=1024)
    # Takes IPv4 as well, unlike asyncio's TCP servers.
    await loop.create_datagram_endpoint(DatagramServer, local_addr=("::", port))


class StreamServer(asyncio.Protocol):
    """One TCP connection: a header, then what its service asks for."""

    def __init__(self) -> None:
        self._greeting = b""
        self._header: Header | None = None
        self._received = 0
        self._sender: PacedSender | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = remember(transport)

    def data_received(self, data: bytes) -> None:
        if self._header is None:
            self._greeting += data
            if len(self._greeting) < Header.SIZE:
                return
            try:
                self._header = Header.unpack(self._greeting[: Header.SIZE])
            except ValueError:
                self._give_up()
                return
            data = self._greeting[Header.SIZE :]
            if not data and self._header.up:
                return
        self._payload_received(self._header, data)

    def _payload_received(self, header: Header, data: bytes) -> None:
        if header.service is Service.ECHO:
            self._transport.write(data)
            return
        if header.service is Service.RESET:
            abort_with_reset(self._transport)
            return
        if not Payload(header.seed, upward=True).matches(self._received, data):
            self._give_up()
            return
        self._received += len(data)
        complete = self._received >= header.up
        if header.service is Service.UPLOAD or complete:
            self._transport.write(RECEIPT.pack(self._received))
        if header.service is Service.EXCHANGE and complete and self._sender is None:
            self._sender = PacedSender(
                self._transport,
                Payload(header.seed, upward=False),
                header.down,
                header.rate,
                on_write=lambda: None,
            )
            self._sender.start()

    def _give_up(self) -> None:
        self._transport.write(RECEIPT.pack(CORRUPTED))
        self._transport.close()

    def pause_writing(self) -> None:
        if self._sender:
            self._sender.pause()

    def resume_writing(self) -> None:
        if self._sender:
            self._sender.resume()

    def eof_received(self) -> bool:
        if self._sender:
            self._sender.stop()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._sender:
            self._sender.stop()


class DatagramServer(asyncio.DatagramProtocol):
    """Echoes datagrams; whether they are sound is for the client to see."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        enlarge_buffer(transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(data, address)
