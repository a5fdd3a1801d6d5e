# SPDX-License-Identifier: GPL-2.0-or-later
"""Two ends on one ubusd: what one publishes, the other calls, hears and subscribes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowguard.ubus.blob import BlobError, Type
from flowguard.ubus.connection import Connection
from flowguard.ubus.errors import UbusError
from flowguard.ubus.serving import Caller, Method
from flowguard.ubus.wire import Status
from tests.ubus.broker import Ubusd

Use = Callable[[Connection, Connection], Awaitable[None]]
TIME = {"hour": Type.INT32, "name": Type.STRING}


class Clock:
    """An object to call."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.go = asyncio.Event()
        self.methods = {
            "echo": Method(self._echo, TIME),
            "wait": Method(self._wait),
            "refuse": Method(self._refuse),
            "crash": Method(self._crash),
            "nothing": Method(self._nothing),
            "large": Method(self._large),
            "circular": Method(self._circular),
        }

    async def _echo(self, arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
        self.callers.append(caller)
        return arguments

    async def _wait(self, arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
        await self.go.wait()
        return {"waited": True}

    async def _refuse(self, arguments: dict[str, Any], caller: Caller) -> None:
        raise UbusError(arguments.get("status", Status.NOT_SUPPORTED))

    async def _crash(self, arguments: dict[str, Any], caller: Caller) -> None:
        raise RuntimeError("boom")

    async def _nothing(self, arguments: dict[str, Any], caller: Caller) -> None:
        return None

    async def _large(self, arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return {"text": "x" * arguments["bytes"]}

    async def _circular(self, arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
        arguments["self"] = arguments
        return arguments


@asynccontextmanager
async def pair(ubusd: Ubusd) -> AsyncIterator[tuple[Connection, Connection]]:
    await ubusd.start()
    server, client = [await Connection.connect(ubusd.path) for _ in range(2)]
    try:
        yield server, client
    finally:
        server.close()
        client.close()
        await ubusd.stop()


def between(ubusd: Ubusd, use: Use) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), pair(ubusd) as (server, client):
            await use(server, client)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def status_of(request: Awaitable[Any]) -> int:
    with pytest.raises(UbusError) as caught:
        await request
    return caught.value.status


def test_arguments_arrive_as_they_are_extra_and_missing_ones_too(ubusd: Ubusd) -> None:
    sent = {"hour": -3, "ubus_rpc_session": "0" * 32, "deep": {"list": [None, True, 1.5, "ü", []]}}

    async def use(server: Connection, client: Connection) -> None:
        clock = Clock()
        await server.add_object("clock", clock.methods)
        assert await client.call("clock", "echo", sent) == sent
        assert await client.call("clock", "echo") == {}
        assert clock.callers == [Caller("root", "root")] * 2

    between(ubusd, use)


def test_objects_are_found_by_path_beginning_and_all(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        first = await server.add_object("clock", Clock().methods)
        second = await server.add_object("clock.second", {})
        (found,) = await client.lookup("clock")
        assert (found.path, found.id) == ("clock", first)
        assert found.methods["echo"] == {"hour": Type.INT32, "name": Type.STRING}
        assert {o.id for o in await client.lookup("clo*")} == {first, second}
        assert {o.id for o in await client.lookup()} == {first, second}
        await server.remove_object(second)
        assert [o.id for o in await client.lookup()] == [first]

    between(ubusd, use)


@pytest.mark.parametrize(
    ("path", "method", "arguments", "status"),
    [
        ("nobody", "echo", {}, Status.NOT_FOUND),
        ("clock", "nope", {}, Status.METHOD_NOT_FOUND),
        ("clock", "refuse", {}, Status.NOT_SUPPORTED),
        ("clock", "refuse", {"status": 99}, 99),
        ("clock", "crash", {}, Status.UNKNOWN_ERROR),
        ("clock", "circular", {}, Status.UNKNOWN_ERROR),
        ("clock", "large", {"bytes": 1 << 20}, Status.UNKNOWN_ERROR),
    ],
)
def test_what_fails_says_why_and_serving_goes_on(
    ubusd: Ubusd, path: str, method: str, arguments: dict[str, Any], status: int
) -> None:
    async def use(server: Connection, client: Connection) -> None:
        await server.add_object("clock", Clock().methods)
        assert await status_of(client.call(path, method, arguments)) == status
        assert await client.call("clock", "echo", {"still": "here"}) == {"still": "here"}

    between(ubusd, use)


def test_a_method_may_reply_nothing_or_nearly_a_mebibyte(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        await server.add_object("clock", Clock().methods)
        assert await client.call_all("clock", "nothing") == []
        for size in (1 << 16, (1 << 20) - 2048):
            reply = await client.call("clock", "large", {"bytes": size})
            assert len(reply["text"]) == size
            assert await client.call("clock", "echo", {"text": "y" * size}) == {"text": "y" * size}
        with pytest.raises(BlobError):
            await client.call("clock", "echo", {"text": "z" * (1 << 20)})

    between(ubusd, use)


def test_a_slow_method_holds_up_nobody(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        clock = Clock()
        await server.add_object("clock", clock.methods)
        slow = asyncio.create_task(client.call("clock", "wait", timeout=None))
        assert await client.call("clock", "echo", {"n": 1}) == {"n": 1}
        assert not slow.done()
        clock.go.set()
        assert await slow == {"waited": True}

    between(ubusd, use)


def test_a_late_reply_after_a_timeout_meets_nobody(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        clock = Clock()
        await server.add_object("clock", clock.methods)
        assert await status_of(client.call("clock", "wait", timeout=0.05)) == Status.TIMEOUT
        clock.go.set()
        assert await client.call("clock", "echo", {"n": 2}) == {"n": 2}

    between(ubusd, use)


def test_too_many_calls_at_once_are_refused_and_later_ones_served(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        clock = Clock()
        clock_id = await server.add_object("clock", clock.methods)
        calls = [asyncio.create_task(client.call(clock_id, "wait")) for _ in range(64)]
        await asyncio.sleep(0)
        assert await status_of(client.call(clock_id, "wait")) == Status.NO_MEMORY
        clock.go.set()
        assert await asyncio.gather(*calls) == [{"waited": True}] * 64
        assert await client.call(clock_id, "echo") == {}

    between(ubusd, use)


def test_a_path_can_be_taken_once(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        await server.add_object("clock", Clock().methods)
        status = await status_of(client.add_object("clock", {}))
        assert status == Status.INVALID_ARGUMENT

    between(ubusd, use)


def test_events_go_to_who_listens_for_them(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        heard: list[tuple[str, dict[str, Any]]] = []
        # More than one, so that also ids beyond 31 bits come up on a real ubusd.
        for _ in range(8):
            await client.listen("clock.*", lambda *event: heard.append(event))
        await server.send_event("other", {})
        await server.send_event("clock.strike", {"hour": 12})
        await until(lambda: len(heard) == 8)
        assert heard == [("clock.strike", {"hour": 12})] * 8

    between(ubusd, use)


def test_a_handler_that_fails_hears_the_next_event(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        heard: list[str] = []

        def hear(name: str, data: dict[str, Any]) -> None:
            heard.append(name)
            raise RuntimeError("boom")

        await client.listen("*", hear)
        await server.send_event("one", {})
        await server.send_event("two", {})
        await until(lambda: heard == ["one", "two"])

    between(ubusd, use)


def test_subscribers_are_notified_until_the_object_goes(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        heard: list[tuple[str, dict[str, Any]]] = []
        ended = asyncio.Event()
        clock = await server.add_object("clock", Clock().methods)
        assert not server.has_subscribers(clock)
        await client.subscribe("clock", lambda *told: heard.append(told), ended.set)
        await until(lambda: server.has_subscribers(clock))
        server.notify(clock, "strike", {"hour": 1})
        await until(lambda: heard == [("strike", {"hour": 1})])
        await server.remove_object(clock)
        await ended.wait()
        assert await status_of(client.subscribe("clock", lambda *_: None)) == Status.NOT_FOUND

    between(ubusd, use)


def test_a_ubusd_that_dies_is_noticed_by_who_waits_and_who_does_not(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        await server.add_object("clock", Clock().methods)
        waiting = asyncio.create_task(client.call("clock", "wait", timeout=None))
        await client.lookup()
        await ubusd.stop()
        assert "ubusd" in await server.lost
        assert await status_of(waiting) == Status.CONNECTION_FAILED
        assert await status_of(client.call("clock", "echo")) == Status.CONNECTION_FAILED
        server.close()

    between(ubusd, use)


def test_the_sequence_numbers_run_round(ubusd: Ubusd) -> None:
    async def use(server: Connection, client: Connection) -> None:
        clock = Clock()
        clock_id = await server.add_object("clock", clock.methods)
        client._requests._sequence = (1 << 16) - 3
        slow = asyncio.create_task(client.call(clock_id, "wait"))
        await asyncio.sleep(0)
        client._requests._sequence = (1 << 16) - 3  # All the way round: its number is still in use.
        for n in range(8):
            assert await client.call(clock_id, "echo", {"n": n}) == {"n": n}
        clock.go.set()
        assert await slow == {"waited": True}

    between(ubusd, use)
