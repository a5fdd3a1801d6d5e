# SPDX-License-Identifier: GPL-2.0-or-later
"""What systemd and procd get to hear, over the sockets that they really use."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from flowguard.platform.openwrt.ubus_object import UbusObject
from flowguard.platform.supervisor import Attendance, Supervisor, find
from flowguard.service.api import PUBLIC
from flowguard.ubus.connection import Connection
from flowguard.ubus.serving import Caller, Method
from tests import virtual_time
from tests.ubus.broker import Ubusd
from tests.ubus.conftest import ubusd

__all__ = ["ubusd"]


@pytest.fixture(params=["path", "abstract"])
def notify_socket(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(type=socket.SOCK_DGRAM) as unused:
        unused.close()
        name = f"{folder}/notify" if request.param == "path" else f"@{folder}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(name.replace("@", "\0"))
            listener.settimeout(10)
            monkeypatch.setenv("NOTIFY_SOCKET", name)
            yield listener


@pytest.fixture
def later_socket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where nobody listens yet."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
        yield f"{folder}/notify"


async def attended(supervisor: Supervisor, until: Callable[[list[str]], Awaitable[None]]) -> None:
    """Attend to it until `until`, which sees what was reported, comes to an end.

    As under supervision it is started anew when it fails, but at once.
    """
    reports: list[str] = []
    attendance = Attendance(supervisor)

    async def keep_running() -> None:
        while True:
            try:
                await attendance.run(lambda: reports.append("ok"))
            except OSError as error:
                reports.append(f"not available: {error}")
            await asyncio.sleep(0.001)

    task = asyncio.create_task(keep_running())
    async with asyncio.timeout(20):
        await until(reports)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def received(listener: socket.socket) -> str:
    return listener.recv(100).decode()


def found(**environment: str) -> Supervisor:
    supervisor = find({**os.environ, **environment}, None)
    assert supervisor
    return supervisor


def test_systemd_hears_that_it_is_ready_and_then_signs_of_life(
    notify_socket: socket.socket,
) -> None:
    async def until(reports: list[str]) -> None:
        said = [await asyncio.to_thread(received, notify_socket) for _ in range(3)]
        assert said == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
        assert reports[:2] == ["ok", "ok"]

    asyncio.run(attended(found(WATCHDOG_USEC="30000"), until))


def test_the_signs_come_well_before_the_watchdog_ends_the_daemon(
    notify_socket: socket.socket,
) -> None:
    assert found(WATCHDOG_USEC="60000000").interval == 20


@pytest.mark.parametrize(
    "environment", [{}, {"WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}]
)
def test_without_a_watchdog_it_says_ready_and_no_more(
    notify_socket: socket.socket, environment: dict[str, str]
) -> None:
    reports: list[str] = []

    async def run() -> None:
        await Attendance(found(**environment)).run(lambda: reports.append("ok"))

    with pytest.raises(virtual_time.Deadlock):  # Nothing will ever be said any more.
        virtual_time.run(run())
    assert (received(notify_socket), reports) == ("READY=1", ["ok"])
    notify_socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        notify_socket.recv(100)


def test_ready_is_said_until_it_is_heard_even_without_a_watchdog(later_socket: str) -> None:
    async def until(reports: list[str]) -> None:
        while not reports:
            await asyncio.sleep(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.settimeout(10)
            listener.bind(later_socket)
            assert await asyncio.to_thread(received, listener) == "READY=1"

    asyncio.run(attended(found(), until))


def test_a_systemd_that_cannot_be_told_is_reported_and_told_later(
    later_socket: str,
) -> None:
    async def until(reports: list[str]) -> None:
        while not reports:
            await asyncio.sleep(0)
        assert reports[0].startswith("not available: ")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.settimeout(10)
            listener.bind(later_socket)
            assert await asyncio.to_thread(received, listener) == "READY=1"

    asyncio.run(attended(found(WATCHDOG_USEC="3000"), until))


def test_nobody_supervises_a_daemon_started_by_hand() -> None:
    async def bus(path: str, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError

    assert find({}, bus) is None
    assert find({"FLOWGUARD_WATCHDOG": "60"}, None) is None


class Procd:
    """procd's object `service`, as far as its watchdog goes."""

    def __init__(self) -> None:
        self.kicked: list[dict[str, Any]] = []

    async def watchdog(self, arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
        self.kicked.append(arguments)
        return {**arguments, "mode": 1, "timeout": 60}


def test_procd_gets_signs_of_life_through_the_loss_of_ubusd(ubusd: Ubusd) -> None:
    async def call(method: str, params: dict[str, Any]) -> Any:
        raise AssertionError

    async def run() -> None:
        published = UbusObject(ubusd.path, call, PUBLIC, first_delay=0.001)
        bus = asyncio.create_task(published.run())
        supervisor = find({"FLOWGUARD_WATCHDOG": "60"}, published.ask)
        assert supervisor and supervisor.interval == 20
        supervisor.interval = 0.001
        await attended(supervisor, until)
        bus.cancel()
        with suppress(asyncio.CancelledError):
            await bus

    async def until(reports: list[str]) -> None:
        for _ in range(2):
            procd = await started()
            while not procd.kicked:
                await asyncio.sleep(0.001)
            assert procd.kicked[0] == {"name": "flowguard", "instance": "main"}
            while reports[-1] != "ok":
                await asyncio.sleep(0.001)
            await ubusd.stop()
            while reports[-1] == "ok":
                await asyncio.sleep(0.001)
            assert reports[-1].startswith("not available: procd: ")

    async def started() -> Procd:
        await ubusd.start()
        procd = Procd()
        connection = await Connection.connect(ubusd.path)
        await connection.add_object("service", {"watchdog": Method(procd.watchdog)})
        return procd

    asyncio.run(run())
