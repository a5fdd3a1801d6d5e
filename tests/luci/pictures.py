# SPDX-License-Identifier: GPL-2.0-or-later
"""`FLOWGUARD_LUCI=TREE python -m tests.luci.pictures FOLDER`: pictures of the pages in every scene.

TREE is a checkout of LuCI, and Chromium has to be installed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.luci import chromium
from tests.luci.at_home import on_a_bus
from tests.luci.chromium import Chromium
from tests.luci.rpcd import Rpcd
from tests.luci.scenes import SCENES
from tests.luci.site import BASE, Site, served
from tests.service.composed import Home, while_running

TREE = os.environ.get("FLOWGUARD_LUCI", "")
DESK, TELEPHONE = (1100, 900), (390, 844)
OVERVIEW = f"{BASE}/admin/network/flowguard/overview"


@asynccontextmanager
async def luci(scene: str, browser: Chromium) -> AsyncIterator[tuple[Home, Site, str]]:
    """A home in a scene, behind LuCI; the address where it is served."""
    home = Home()
    entered: asyncio.Future[tuple[Site, str]] = asyncio.get_running_loop().create_future()
    left = asyncio.Event()

    async def use() -> None:
        async with on_a_bus(home) as bus:
            router = Rpcd(bus)
            await SCENES[scene](home, router)
            site = Site(Path(TREE), router)
            async with served(site) as address:
                entered.set_result((site, address))
                await left.wait()

    life = asyncio.create_task(while_running(home.daemon, use))
    await asyncio.wait([life, entered], return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        life.result()
    try:
        yield (home, *entered.result())
    finally:
        left.set()
        await life


async def shown(browser: Chromium, address: str) -> None:
    """Until LuCI has drawn the page."""
    await browser.open(address)
    await browser.until(
        f"location.href == {address!r} && document.querySelector('#view h2, #view .cbi-section')"
    )


async def take(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    async with chromium.started() as browser:

        async def picture(name: str) -> None:
            (folder / f"{name}.png").write_bytes(await browser.picture())

        for scene in SCENES:
            async with luci(scene, browser) as (_, site, address):
                await browser.size(*DESK)
                await shown(browser, address + OVERVIEW)
                # A second sample for the chart.
                await asyncio.sleep(1.5)
                await picture(scene)
                if scene not in ("steady", "held-off"):
                    continue
                for page in ("connections", "settings"):
                    await shown(browser, address + OVERVIEW.replace("overview", page))
                    await picture(f"{scene}-{page}")
                await browser.size(*TELEPHONE, mobile=True)
                for page in ("overview", "connections", "settings"):
                    await shown(browser, address + OVERVIEW.replace("overview", page))
                    await picture(f"{scene}-{page}-telephone")
                await browser.size(*DESK)
                site.dark = True
                for page in ("overview", "settings"):
                    await shown(browser, address + OVERVIEW.replace("overview", page))
                    await picture(f"{scene}-{page}-dark")
        print(*browser.errors, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    asyncio.run(take(parser.parse_args().folder))
