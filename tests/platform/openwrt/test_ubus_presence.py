# SPDX-License-Identifier: GPL-2.0-or-later
"""ubus that is there already, comes later or never."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flowguard.platform.openwrt.ubus_object import UbusObject
from flowguard.platform.openwrt.ubus_presence import UbusPresence
from flowguard.ubus.connection import Connection
from tests.ubus.broker import Ubusd, running
from tests.ubus.conftest import ubusd
from tests.ubus.test_connection import until

__all__ = ["ubusd"]

ABSENT = "not available: no ubus socket"
DAEMON = Path(__file__).resolve().parents[3] / "daemon"


async def call(method: str, params: dict[str, Any]) -> Any:
    return {"method": method}


def with_presence(
    ubusd: Ubusd, use: Callable[[UbusPresence, list[str]], Awaitable[None]]
) -> list[str]:
    """Run it through `use`; returns what it told: `found`, and `heard` for each hint of netifd."""
    told: list[str] = []

    def found(published: UbusObject) -> None:
        told.append("found")
        published.follow("network.interface", lambda: told.append("heard"))

    async def run() -> None:
        presence = UbusPresence(("/none", ubusd.path), call, {"status": {}}, found, 0.001)
        async with running(ubusd, presence.run(lambda: None), 20):
            await use(presence, told)

    asyncio.run(run())
    return told


def test_a_ubusd_that_comes_later_is_found_and_served(ubusd: Ubusd) -> None:
    async def use(presence: UbusPresence, told: list[str]) -> None:
        assert presence.health == ABSENT
        with pytest.raises(OSError, match="no ubus socket"):
            await presence.ask("service", "watchdog", {})
        await ubusd.start()
        await until(lambda: presence.health == "ok")
        assert await presence.ask("flowguard", "status", {}) == {"method": "status"}
        client = await Connection.connect(ubusd.path)
        assert await client.call("flowguard", "status") == {"method": "status"}
        client.close()

    assert with_presence(ubusd, use) == ["found", "heard"]


def test_what_netifd_said_while_ubusd_was_away_is_asked_for(ubusd: Ubusd) -> None:
    async def use(presence: UbusPresence, told: list[str]) -> None:
        for times in (1, 2, 3):
            await ubusd.start()
            await until(lambda n=times: told == ["found", *["heard"] * n])  # type: ignore[misc]
            await ubusd.stop()
            await until(lambda: "not connected" in presence.health)

    with_presence(ubusd, use)


def test_a_look_finds_what_is_there_at_once(ubusd: Ubusd) -> None:
    async def run() -> None:
        await ubusd.start()
        found: list[UbusObject] = []
        presence = UbusPresence((ubusd.path,), call, {}, found.append)
        assert presence.look() is presence.look() is found[0]
        assert found[0].path == ubusd.path
        await ubusd.stop()

    asyncio.run(run())


def test_nothing_of_ubus_is_imported_where_there_is_none() -> None:
    code = """
import sys
from flowguard.service import life
from flowguard.platform.openwrt.ubus_presence import UbusPresence
assert UbusPresence(("/none",), None, {}, None).look() is None
assert "flowguard.platform.openwrt.ubus_object" not in sys.modules
assert "flowguard.ubus" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(DAEMON)}, check=True)
