# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel notifications as a trigger: something happened, go and look."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

# So many datagrams are read before others on the loop get their turn.
BURST = 64
RECEIVE = 1 << 17


class NetlinkTrigger:
    """Calls `notify` once, `delay` seconds after the first datagram of a burst that matters.

    A lost datagram (ENOBUFS) might have mattered, so it does.
    """

    def __init__(
        self,
        protocol: int,
        groups: int,
        matters: Callable[[bytes], bool],
        notify: Callable[[], None],
        delay: float,
    ) -> None:
        """Listens on the running loop at once; `groups` is the bind mask of netlink(7)."""
        self._matters = matters
        self._notify = notify
        self._delay = delay
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        try:
            self._socket.setblocking(False)
            self._socket.bind((0, groups))
            self._loop.add_reader(self._socket, self._read)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self._timer:
            self._timer.cancel()

    def _read(self) -> None:
        for _ in range(BURST):
            try:
                matters = self._matters(self._socket.recv(RECEIVE))
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                matters = True
            if matters and self._timer is None:
                self._timer = self._loop.call_later(self._delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._notify()
