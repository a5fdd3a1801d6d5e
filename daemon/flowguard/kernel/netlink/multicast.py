# SPDX-License-Identifier: GPL-2.0-or-later
"""Netlink multicast on the loop: read as it comes, or taken as a sign to go and look."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

# So many datagrams are read before others on the loop get their turn.
BURST = 64
RECEIVE = 1 << 17


class NetlinkReader:
    """Hands on the datagrams of multicast groups, up to BURST at a time.

    `received` gets them, and whether the kernel dropped others (ENOBUFS). `prepare` is
    called with the socket before the first datagram can come. Any other error ends the
    reading: `failed` hears of it once.
    """

    def __init__(
        self,
        protocol: int,
        groups: int,
        received: Callable[[list[bytes], bool], None],
        failed: Callable[[str], None],
        prepare: Callable[[socket.socket], None] = lambda opened: None,
        size: int = RECEIVE,
    ) -> None:
        """Listens on the running loop at once; raises OSError.

        `groups` is the bind mask of netlink(7), `size` the largest datagram in bytes.
        """
        self._received = received
        self._failed = failed
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        try:
            self._socket.setblocking(False)
            prepare(self._socket)
            self._socket.bind((0, groups))
            self._loop.add_reader(self._socket, self._read)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        datagrams: list[bytes] = []
        lost, why = False, ""
        for _ in range(BURST):
            try:
                datagrams.append(self._socket.recv(self._size))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    why = error.strerror or str(error)
                    break
                lost = True
        if why:
            # It would be readable for ever.
            self._loop.remove_reader(self._socket)
        if datagrams or lost:
            self._received(datagrams, lost)
        if why:
            self._failed(why)


class NetlinkTrigger:
    """Calls `notify` once, `delay` seconds after the first datagram of a burst that matters.

    A lost datagram might have mattered, so it does. `failed`: see NetlinkReader.
    """

    def __init__(
        self,
        protocol: int,
        groups: int,
        matters: Callable[[bytes], bool],
        notify: Callable[[], None],
        failed: Callable[[str], None],
        delay: float,
    ) -> None:
        """Listens on the running loop at once; `groups` is the bind mask of netlink(7)."""
        self._matters = matters
        self._notify = notify
        self._delay = delay
        self._timer: asyncio.TimerHandle | None = None
        self._reader = NetlinkReader(protocol, groups, self._received, failed)

    def close(self) -> None:
        self._reader.close()
        if self._timer:
            self._timer.cancel()

    def _received(self, datagrams: list[bytes], lost: bool) -> None:
        if self._timer is None and (lost or any(map(self._matters, datagrams))):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._notify()
