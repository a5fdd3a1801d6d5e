# SPDX-License-Identifier: GPL-2.0-or-later
"""What is registered on a bus outlives ubusd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from flowguard.ubus.bus import Bus
from flowguard.ubus.connection import Connection
from flowguard.ubus.errors import UbusError
from flowguard.ubus.serving import Caller, Method
from flowguard.ubus.wire import Status
from tests.ubus.broker import Ubusd, running
from tests.ubus.test_connection import until

RESTARTS = 50


async def echo(arguments: dict[str, Any], caller: Caller) -> dict[str, Any]:
    return arguments


METHODS = {"echo": Method(echo)}


def with_bus(ubusd: Ubusd, use: Callable[[Bus], Awaitable[None]]) -> None:
    async def run() -> None:
        bus = Bus(ubusd.path, first_delay=0.01)
        async with running(ubusd, bus.run(), 60):
            await use(bus)

    asyncio.run(run())


@asynccontextmanager
async def connected(path: str) -> Any:
    connection = await Connection.connect(path)
    try:
        yield connection
    finally:
        connection.close()


async def answered(client: Connection, number: int) -> bool:
    with suppress(UbusError):
        return await client.call("clock", "echo", {"n": number}) == {"n": number}
    return False


def test_ubusd_may_come_later_and_the_status_says_what_is_missing(ubusd: Ubusd) -> None:
    async def use(bus: Bus) -> None:
        bus.add_object("clock", METHODS)
        await until(lambda: "No such file" in bus.status)
        assert not bus.connected
        with pytest.raises(UbusError) as caught:
            await bus.call("clock", "echo")
        assert caught.value.status == Status.CONNECTION_FAILED
        await ubusd.start()
        await until(lambda: bus.connected)
        assert bus.status == "connected"

    with_bus(ubusd, use)


def test_everything_is_back_after_each_of_fifty_restarts_under_calls(ubusd: Ubusd) -> None:
    async def use(bus: Bus) -> None:
        heard: list[str] = []
        bus.add_object("clock", METHODS)
        bus.listen("time.*", lambda name, data: heard.append(name))
        bus.subscribe("other", lambda name, data: heard.append(name))
        for number in range(RESTARTS):
            await ubusd.start()
            async with connected(ubusd.path) as client:
                other = await client.add_object("other", {})
                while not await answered(client, number):
                    await asyncio.sleep(0.001)
                await until(lambda c=client, o=other: c.has_subscribers(o))  # type: ignore[misc]
                client.notify(other, "told", {})
                await client.send_event("time.event", {})
                await until(lambda: sorted(heard) == ["time.event", "told"])
                heard.clear()
                calls = [asyncio.create_task(answered(client, n)) for n in range(20)]
                await ubusd.stop()
                await asyncio.gather(*calls)
            await until(lambda: not bus.connected)

    with_bus(ubusd, use)


def test_a_subscription_waits_for_its_object_and_for_its_return(ubusd: Ubusd) -> None:
    async def use(bus: Bus) -> None:
        await ubusd.start()
        heard: list[str] = []
        bus.subscribe("other", lambda name, data: heard.append(name))
        await until(lambda: "subscription to other: not found" in bus.status)
        async with connected(ubusd.path) as client:
            for name in ("first", "second", "third"):
                other = await client.add_object("other", {})
                await until(lambda c=client, o=other: c.has_subscribers(o))  # type: ignore[misc]
                await until(lambda: bus.status == "connected")
                client.notify(other, name, {})
                await until(lambda n=name: n in heard)  # type: ignore[misc]
                await client.remove_object(other)
                await until(lambda: bus.status != "connected")

    with_bus(ubusd, use)


def test_a_taken_name_is_said_and_taken_over_when_it_is_free(ubusd: Ubusd) -> None:
    async def use(bus: Bus) -> None:
        await ubusd.start()
        async with connected(ubusd.path) as holder:
            await holder.add_object("clock", METHODS)
            bus.add_object("clock", METHODS)
            await until(lambda: "object clock: invalid argument" in bus.status)
            assert bus.connected
        await until(lambda: bus.status == "connected")

    with_bus(ubusd, use)


def test_a_bus_notifies_who_subscribed_to_its_object(ubusd: Ubusd) -> None:
    async def use(bus: Bus) -> None:
        await ubusd.start()
        bus.add_object("clock", METHODS)
        bus.notify("clock", "nobody hears", {})
        heard: list[str] = []
        async with connected(ubusd.path) as client:
            while not await answered(client, 1):
                await asyncio.sleep(0.001)
            await client.subscribe("clock", lambda name, data: heard.append(name))
            await client.call("clock", "echo")
            bus.notify("clock", "strike", {})
            await until(lambda: heard == ["strike"])

    with_bus(ubusd, use)
