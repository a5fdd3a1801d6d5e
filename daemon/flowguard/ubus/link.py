# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket to ubusd: whole messages out and in, and the end noticed at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from flowguard.ubus.blob import MESSAGE_LIMIT
from flowguard.ubus.wire import Message, ProtocolError, Splitter, pack

OUTGOING_LIMIT = 4 * MESSAGE_LIMIT
"""Bytes kept for a ubusd that does not read; more, and the connection is given up."""
_CHUNK = 1 << 16


class Link:
    """`receive` is called with every message, `lost` once with the reason why it ended."""

    def __init__(
        self,
        connected: socket.socket,
        receive: Callable[[Message], None],
        lost: Callable[[str], None],
    ) -> None:
        self._socket = connected
        self._receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._splitter = Splitter()
        self._outgoing = bytearray()
        self._open = True
        self._loop.add_reader(connected.fileno(), self._readable)

    def send(self, message: Message) -> None:
        """Never waits; nothing is sent after the end. BlobError when it is too large."""
        data = pack(message)
        if not self._open:
            return
        waiting = bool(self._outgoing)
        self._outgoing += data
        if waiting:
            if len(self._outgoing) > OUTGOING_LIMIT:
                self.close("ubusd does not read what it is sent")
            return
        self._write()
        if self._open and self._outgoing:
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def close(self, reason: str) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._outgoing.clear()
        self._lost(reason)

    def _writable(self) -> None:
        self._write()
        if self._open and not self._outgoing:
            self._loop.remove_writer(self._socket.fileno())

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._outgoing)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"ubusd is gone: {error.strerror}")
            return
        del self._outgoing[:sent]

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"ubusd is gone: {error.strerror}")
            return
        if not data:
            self.close("ubusd closed the connection")
            return
        try:
            for message in self._splitter.feed(data):
                self._receive(message)
        except ProtocolError as error:
            self.close(f"this is not ubus: {error}")
