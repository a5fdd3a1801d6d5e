# SPDX-License-Identifier: GPL-2.0-or-later
"""The ubus object as other programs see it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from flowguard.core.model import Attribution, Decision, Fault, FaultClass, Level
from flowguard.platform.openwrt.ubus_object import REPLY_LIMIT, UbusObject
from flowguard.service.api import PUBLIC
from flowguard.service.control import ApiError, NotKnown, NotNow
from flowguard.ubus.blob import encode
from flowguard.ubus.connection import Connection
from flowguard.ubus.errors import UbusError
from flowguard.ubus.wire import Status
from tests.ubus.broker import Ubusd, running
from tests.ubus.conftest import ubusd
from tests.ubus.test_connection import until

__all__ = ["ubusd"]

REFUSALS: dict[str, tuple[type[Exception], Status]] = {
    "level": (ApiError, Status.INVALID_ARGUMENT),
    "forget": (NotKnown, Status.NOT_FOUND),
    "decisions": (NotNow, Status.NO_DATA),
    "check": (RuntimeError, Status.UNKNOWN_ERROR),
}
PROBLEMS = [f"line {n}: {'x' * 300}" for n in range(5000)]
FLOWS = [{"flow": "x" * 300, "number": n} for n in range(1000)]


async def call(method: str, params: dict[str, Any]) -> Any:
    if method == "flows":
        return FLOWS
    if method == "status":
        return {"level": "none", "problems": PROBLEMS, "devices": FLOWS[:100]}
    if method in REFUSALS:
        raise REFUSALS[method][0](f"{method} is refused")
    return {"method": method, "text": "a\0b\udc80", "params": params}


def with_object(
    ubusd: Ubusd,
    use: Callable[[UbusObject, Connection], Awaitable[None]],
    prepare: Callable[[UbusObject], None] = lambda published: None,
) -> None:
    async def run() -> None:
        await ubusd.start()
        published = UbusObject(ubusd.path, call, PUBLIC, first_delay=0.01)
        prepare(published)
        async with running(ubusd, published.run(), 20):
            client = await Connection.connect(ubusd.path)
            try:
                await until_answered(client)
                await use(published, client)
            finally:
                client.close()

    asyncio.run(run())


async def until_answered(client: Connection) -> None:
    while True:
        with suppress(UbusError):
            await client.call("flowguard", "status")
            return
        await asyncio.sleep(0.001)


def test_every_method_is_offered_with_its_arguments_and_no_other(ubusd: Ubusd) -> None:
    async def use(published: UbusObject, client: Connection) -> None:
        (info,) = await client.lookup("flowguard")
        assert set(info.methods) == set(PUBLIC)
        assert set(info.methods["flows"]) == {"limit", "level", "host", "device", "why"}
        with pytest.raises(UbusError) as caught:
            await client.call("flowguard", "stop")
        assert caught.value.status == Status.METHOD_NOT_FOUND
        assert published.health == "ok"

    with_object(ubusd, use)


def test_extra_arguments_are_fine_and_odd_text_is_escaped(ubusd: Ubusd) -> None:
    async def use(published: UbusObject, client: Connection) -> None:
        reply = await client.call("flowguard", "reload", {"ubus_rpc_session": "0"})
        assert reply["method"] == "reload"
        assert reply["text"] == "a\\x00b\\udc80"

    with_object(ubusd, use)


def test_each_kind_of_refusal_has_its_status_and_its_text_is_logged(
    ubusd: Ubusd, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(published: UbusObject, client: Connection) -> None:
        for method, (_, status) in REFUSALS.items():
            with pytest.raises(UbusError) as caught:
                await client.call("flowguard", method)
            assert caught.value.status == status

    with_object(ubusd, use)
    assert all(f"{method} is refused" in caplog.text for method in REFUSALS)


def test_a_list_is_wrapped_and_cut_to_what_a_reply_may_hold(ubusd: Ubusd) -> None:
    async def use(published: UbusObject, client: Connection) -> None:
        reply = await client.call("flowguard", "flows")
        shown = reply["flows"]
        assert shown == FLOWS[: len(shown)]
        assert len(shown) + reply["cut"]["flows"] == len(FLOWS)
        assert REPLY_LIMIT * 0.9 < len(encode(reply)) < 256 * 1024

    with_object(ubusd, use)


def test_a_table_loses_the_end_of_its_longest_list(ubusd: Ubusd) -> None:
    async def use(published: UbusObject, client: Connection) -> None:
        reply = await client.call("flowguard", "status")
        assert (reply["level"], reply["devices"]) == ("none", FLOWS[:100])
        assert reply["problems"] == PROBLEMS[: len(reply["problems"])]
        assert len(reply["problems"]) + reply["cut"]["problems"] == len(PROBLEMS)
        assert REPLY_LIMIT * 0.9 < len(encode(reply)) < 256 * 1024

    with_object(ubusd, use)


def test_moves_and_faults_are_told(ubusd: Ubusd) -> None:
    async def use(published: UbusObject, client: Connection) -> None:
        seen: list[tuple[str, dict[str, Any]]] = []
        await client.listen("flowguard.*", lambda name, data: seen.append((name, data)))
        published.moved(Decision(1.0, "wan", Level.HARDWARE, Level.SOFTWARE, "fault", "line"))
        published.fault_seen(
            Fault("r", FaultClass.DRIVER_ERROR, Attribution.DRIVER, None, "mtk", "odd\0 \udc80")
        )
        published.power_cycle_needed("wan", "reset failed")
        await until(lambda: len(seen) == 3)
        assert seen[2] == ("flowguard.power_cycle", {"device": "wan", "evidence": "reset failed"})
        moved = {"device": "wan", "from": "hardware", "to": "software"}
        assert seen[0] == ("flowguard.level", {**moved, "reason": "fault", "evidence": "line"})
        assert seen[1][0] == "flowguard.fault"
        assert seen[1][1]["line"] == "odd\\x00 \\udc80"

    with_object(ubusd, use)


def test_it_comes_back_with_ubusd_and_says_when_it_is_gone(ubusd: Ubusd) -> None:
    async def use(published: UbusObject, client: Connection) -> None:
        for _ in range(5):
            client.close()
            await ubusd.stop()
            await until(lambda: published.health.startswith("not available: not connected"))
            published.moved(Decision(1.0, "wan", Level.HARDWARE, Level.NONE, "nobody hears"))
            await ubusd.start()
            client = await Connection.connect(ubusd.path)
            await until_answered(client)
        client.close()

    with_object(ubusd, use)


def test_an_object_is_followed_by_its_event_and_when_it_appears(ubusd: Ubusd) -> None:
    heard: list[bool] = []

    async def use(published: UbusObject, client: Connection) -> None:
        await until(lambda: len(heard) == 1)  # Listening has begun.
        await client.send_event("network.interface", {"action": "ifup"})
        await client.send_event("network", {})
        await until(lambda: len(heard) == 2)
        await client.add_object("network", {})
        await client.add_object("network.interface", {})
        await until(lambda: len(heard) == 3)
        await client.call("flowguard", "status")
        assert len(heard) == 3

    with_object(ubusd, use, lambda p: p.follow("network.interface", lambda: heard.append(True)))
