# SPDX-License-Identifier: GPL-2.0-or-later
"""A UDP flow, seen from the client."""

from __future__ import annotations

import asyncio
from typing import cast

from tests.lab.traffic.connection import Connection, Order
from tests.lab.traffic.report import Fate
from tests.lab.traffic.wire import Datagram, enlarge_buffer


class DatagramFlow(Connection, asyncio.DatagramProtocol):
    """Numbered datagrams at a steady rate; progress is their echoes.

    ICMP errors do not end the flow: applications go on, and so does this one.
    """

    def __init__(self, order: Order, interval: float, size: int) -> None:
        super().__init__(order)
        self._interval = interval
        self._size = size
        self._number = 0
        self._highest_echo = 0
        self._outstanding: set[int] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def _open(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, remote_addr=(self.order.address, self.order.port)
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        enlarge_buffer(transport)
        if self.unfinished:
            self.opened(transport)
            self._send()
        else:
            self._transport.abort()

    def _send(self) -> None:
        assert self._transport is not None
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._send)
        self._outstanding.add(self._number)
        self._transport.sendto(Datagram(self.order.number, self._number, self._size).pack())
        self._number += 1
        self.sent += self._size
        self.progress.expect()

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if not self.unfinished:
            return
        try:
            echo = Datagram.unpack(data)
        except ValueError as error:
            self.finish(Fate.CORRUPTED, str(error))
            return
        if echo.seed != self.order.number:
            self.finish(Fate.CORRUPTED, f"an echo of flow {echo.seed}")
            return
        if echo.number not in self._outstanding:
            return
        self._outstanding.remove(echo.number)
        self._highest_echo = max(self._highest_echo, echo.number)
        if not self.received:
            self.established()
        self.received += echo.size
        self.progress.made(more_due=bool(self._outstanding))

    def error_received(self, error: Exception) -> None:
        self.note(str(error))

    @property
    def lost_datagrams(self) -> int:
        """Overtaken by others; a late one still counts when it comes."""
        return sum(number < self._highest_echo for number in self._outstanding)

    def close(self, orderly: bool) -> None:
        if self._timer:
            self._timer.cancel()
        if self._transport:
            self._transport.abort()
