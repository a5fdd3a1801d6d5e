# SPDX-License-Identifier: GPL-2.0-or-later
"""Multicast as programs may send it to each other (NETLINK_USERSOCK)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest

from flowguard.kernel.netlink import multicast
from flowguard.kernel.netlink.multicast import BURST, NetlinkReader, NetlinkTrigger
from tests.ubus.test_connection import until

USERSOCK = 2
GROUP = 1 << os.getpid() % 32
"""Of this run alone, also when there is another beside it."""


class Heard:
    """What a reader said, and how it was told to end."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.calls = 0
        self.lost = 0
        self.failures: list[str] = []

    def received(self, datagrams: list[bytes], lost: bool) -> None:
        assert datagrams or lost
        self.calls += 1
        self.lost += lost
        self.datagrams += datagrams


def send(*datagrams: bytes) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, USERSOCK) as sender:
        for datagram in datagrams:
            # The kernel itself has no such socket; the group gets it all the same.
            with suppress(ConnectionRefusedError):
                sender.sendto(datagram, (0, GROUP))


def listening(story: Callable[[Heard], Awaitable[None]]) -> None:
    async def run() -> None:
        heard = Heard()
        with closing(NetlinkReader(USERSOCK, GROUP, heard.received, heard.failures.append)):
            await story(heard)

    asyncio.run(run())


def test_datagrams_arrive_in_bursts_and_in_order() -> None:
    sent = [b"%d" % number for number in range(2 * BURST)]

    async def story(heard: Heard) -> None:
        send(*sent)
        await until(lambda: len(heard.datagrams) == len(sent))
        assert heard.datagrams == sent
        assert (heard.calls, heard.lost, heard.failures) == (2, 0, [])

    listening(story)


def test_what_did_not_fit_is_lost_and_reading_goes_on() -> None:
    async def story(heard: Heard) -> None:
        send(*[bytes(1 << 12)] * 1000)
        await until(lambda: heard.lost == 1)
        send(b"later")
        await until(lambda: heard.datagrams[-1:] == [b"later"])
        assert not heard.failures

    listening(story)


class Broken(socket.socket):
    """Its second datagram is an error that no waiting heals."""

    calls = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.__class__.calls += 1
        if self.__class__.calls == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().recv(size, flags)


def test_another_error_ends_the_reading_and_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = SimpleNamespace(socket=Broken, AF_NETLINK=socket.AF_NETLINK, SOCK_RAW=socket.SOCK_RAW)
    monkeypatch.setattr(multicast, "socket", broken)
    monkeypatch.setattr(Broken, "calls", 0)

    async def story(heard: Heard) -> None:
        send(b"first", b"second", b"third")
        await until(lambda: bool(heard.failures))
        assert heard.datagrams == [b"first"]
        for _ in range(20):
            await asyncio.sleep(0)
        assert heard.failures == [os.strerror(errno.EIO)]
        assert Broken.calls == 2

    listening(story)


def test_a_trigger_fires_once_for_a_burst_of_what_matters() -> None:
    async def run() -> None:
        fired: list[float] = []
        loop = asyncio.get_running_loop()

        def notify() -> None:
            fired.append(loop.time())

        with closing(NetlinkTrigger(USERSOCK, GROUP, b"yes".__eq__, notify, pytest.fail, 0.02)):
            started = loop.time()
            send(b"no", b"yes", b"yes")
            await until(lambda: bool(fired))
            assert fired[0] - started >= 0.02
            send(b"no", b"yes")
            await until(lambda: len(fired) == 2)

    asyncio.run(run())
