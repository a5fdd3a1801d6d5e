# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages in Chromium, over LuCI's own scripts and theme; FLOWGUARD_LUCI names a LuCI tree."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.luci import chromium
from tests.luci.at_home import in_luci
from tests.luci.chromium import Chromium
from tests.luci.pictures import DESK, PAGES, TELEPHONE, TREE, address_of, shown
from tests.luci.scenes import SCENES
from tests.luci.site import Site
from tests.luci.test_pages import FIRST
from tests.service.composed import Home

pytestmark = [
    pytest.mark.skipif(not TREE, reason="FLOWGUARD_LUCI names no LuCI tree"),
    pytest.mark.skipif(not chromium.PROGRAM, reason="Chromium is not installed"),
]

TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
Use = Callable[[Chromium, Home, Site, str], Awaitable[None]]


def in_chromium(scene: str, use: Use) -> None:
    """No script may have thrown anything at the end, and no file may have been missing."""

    async def run() -> None:
        async with chromium.started() as browser:

            async def at_home(home: Home, site: Site, base: str) -> None:
                await browser.size(*DESK)
                await use(browser, home, site, base)
                assert browser.errors == []
                assert set(site.unknown) <= {"/favicon.ico"}

            await in_luci(Path(TREE), SCENES[scene], at_home)

    asyncio.run(run())


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_is_drawn(scene: str) -> None:
    async def use(browser: Chromium, home: Home, site: Site, base: str) -> None:
        await shown(browser, address_of("overview", base))
        for text in FIRST[scene][1:]:
            await browser.until_shown(text)
        text = await browser.text()
        assert "undefined" not in text and "[object" not in text and "NaN" not in text

    in_chromium(scene, use)


def test_every_page_fits_a_telephone() -> None:
    async def use(browser: Chromium, home: Home, site: Site, base: str) -> None:
        await browser.size(*TELEPHONE, mobile=True)
        for page in PAGES:
            await shown(browser, address_of(page, base))
            assert not await browser.value(TOO_WIDE), page

    in_chromium("held-off", use)


def test_the_firewalls_offloading_is_switched_off_and_the_page_follows() -> None:
    async def use(browser: Chromium, home: Home, site: Site, base: str) -> None:
        home.router.flows.leave_after = 0.0
        await shown(browser, address_of("overview", base))
        await browser.click("Switch it off")
        await browser.until_shown("Hardware offloading is on.")

    in_chromium("standing-by", use)


def test_connections_are_searched_in_the_browser() -> None:
    async def use(browser: Chromium, home: Home, site: Site, base: str) -> None:
        await shown(browser, address_of("connections", base))
        await browser.until_shown("192.168.1.2:1001 ")
        await browser.value(
            "(field => { field.value = ':1007'; field.dispatchEvent(new Event('keyup')) })"
            "(document.querySelector('#view input'))"
        )
        await browser.until("!document.body.innerText.includes('192.168.1.2:1001 ')")
        assert "192.168.1.2:1007 " in await browser.text()

    in_chromium("steady", use)


def test_a_setting_is_saved_and_a_wrong_one_is_refused() -> None:
    async def use(browser: Chromium, home: Home, site: Site, base: str) -> None:
        await shown(browser, address_of("settings", base))
        await fill(browser, "boot_delay", "2w")
        await browser.click("Save")
        await browser.until_shown("a time from 0s to 1h, as in 90 or 90s, 15m, 2h, 1d")
        assert site.staged == []
        # LuCI tells it to the form by an error that nobody catches.
        browser.errors.clear()
        await shown(browser, address_of("settings", base))
        await fill(browser, "boot_delay", "2m")
        await browser.click("Save")
        while not site.staged:
            await asyncio.sleep(0.05)
        # What was left alone keeps its default. LuCI writes a switch that is on in any case.
        values = {"boot_delay": "2m", "enabled": "1"}
        assert site.staged == [
            ("set", {"config": "flowguard", "section": "globals", "values": values})
        ]

    in_chromium("steady", use)


async def fill(browser: Chromium, option: str, text: str) -> None:
    field = f"document.getElementById('widget.cbid.flowguard.globals.{option}')"
    await browser.until(field)
    await browser.value(
        f"(field => {{ field.value = '{text}'; field.dispatchEvent(new Event('keyup')); "
        f"field.dispatchEvent(new Event('blur')) }})({field})"
    )
