# SPDX-License-Identifier: GPL-2.0-or-later
"""A router in memory for browsers: the daemon with its ubus object on a bus."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from flowguard.platform.openwrt.ubus_object import UbusObject
from flowguard.service.api import PUBLIC
from flowguard.ubus.connection import Connection
from flowguard.ubus.errors import UbusError
from tests.luci.browser import Browser, started
from tests.luci.rpcd import Rpcd, Session
from tests.luci.scenes import Scene
from tests.luci.site import Site, served
from tests.service import composed
from tests.service.composed import Home, while_running
from tests.ubus.broker import Broker, running

Use = Callable[[Home, Browser], Awaitable[None]]
PATIENCE = 20_000.0


def at_home(use: Use, session: Session | None = None, **how: Any) -> None:
    """Node as the browser, in virtual time; `how` is the router's and the daemon's."""

    async def asked(home: Home) -> None:
        async with on_a_bus(home) as bus:
            with started(Rpcd(bus, session)) as browser:
                await use(home, browser)

    composed.at_home(asked, **how)


async def in_luci(
    tree: Path, scene: Scene, use: Callable[[Home, Site, str], Awaitable[None]]
) -> None:
    """In real time, behind LuCI; `use` gets the address where it is served."""
    home = Home()

    async def asked() -> None:
        async with on_a_bus(home) as bus:
            router = Rpcd(bus)
            await scene(home, router)
            site = Site(tree, router)
            async with served(site) as address:
                await use(home, site, address)

    await while_running(home.daemon, asked)


@asynccontextmanager
async def on_a_bus(home: Home) -> AsyncIterator[Connection]:
    """A client of a bus where the home's object is published."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(f"{folder}/ubus.sock")
        await broker.start()
        published = UbusObject(broker.path, home.daemon.api.call, PUBLIC, first_delay=0.01)
        async with running(broker, published.run(), PATIENCE):
            client = await Connection.connect(broker.path)
            try:
                await _found(client)
                yield client
            finally:
                client.close()


async def _found(client: Connection) -> None:
    while True:
        try:
            await client.lookup("flowguard")
            return
        except UbusError:
            await asyncio.sleep(0.01)
