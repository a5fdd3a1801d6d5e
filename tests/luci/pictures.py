# SPDX-License-Identifier: GPL-2.0-or-later
"""`FLOWGUARD_LUCI=TREE python -m tests.luci.pictures FOLDER`: pictures of the pages in every scene.

TREE is a checkout of LuCI, and Chromium has to be installed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from tests.luci import chromium
from tests.luci.at_home import in_luci
from tests.luci.chromium import Chromium
from tests.luci.scenes import SCENES
from tests.luci.site import BASE, Site
from tests.service.composed import Home

TREE = os.environ.get("FLOWGUARD_LUCI", "")
DESK, TELEPHONE = (1100, 900), (390, 844)
PAGES = ("overview", "connections", "settings")
# Of the other scenes the overview is enough.
THOROUGH = ("steady", "held-off")
SECOND_SAMPLE = 1.5
"""Seconds until the chart has more than one."""


def address_of(page: str, base: str) -> str:
    return f"{base}{BASE}/admin/network/flowguard/{page}"


async def shown(browser: Chromium, address: str) -> None:
    """Until LuCI has drawn the page."""
    await browser.open(address)
    drawn = "document.querySelector('#view h2, #view .cbi-section')"
    await browser.until(f"location.href == {address!r} && {drawn}")


async def take(folder: Path) -> None:
    """Raises RuntimeError when a script of the pages has failed."""
    folder.mkdir(parents=True, exist_ok=True)
    async with chromium.started() as browser:
        for scene in SCENES:

            async def use(home: Home, site: Site, base: str, scene: str = scene) -> None:
                await _scene(browser, site, base, folder / scene, scene in THOROUGH)

            await in_luci(Path(TREE), SCENES[scene], use)
        if browser.errors:
            raise RuntimeError("\n".join(browser.errors))


async def _scene(browser: Chromium, site: Site, base: str, name: Path, thorough: bool) -> None:
    async def picture(page: str, kind: str = "") -> None:
        await shown(browser, address_of(page, base))
        if page == "overview":
            await asyncio.sleep(SECOND_SAMPLE)
        name.with_name(f"{name.name}-{page}{kind}.png").write_bytes(await browser.picture())

    await browser.size(*DESK)
    for page in PAGES if thorough else ("overview",):
        await picture(page)
    if not thorough:
        return
    site.dark = True
    for page in PAGES:
        await picture(page, "-dark")
    site.dark = False
    await browser.size(*TELEPHONE, mobile=True)
    for page in PAGES:
        await picture(page, "-telephone")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    asyncio.run(take(parser.parse_args().folder))
