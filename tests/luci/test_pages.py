# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages say what the daemon does, in every scene, and their buttons do what they say."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowguard.core.events import FaultSeen
from flowguard.core.records import replace
from flowguard.kernel.conntrack import DumpInterrupted
from flowguard.ubus.errors import UbusError
from flowguard.ubus.wire import Status
from tests.luci import browser
from tests.luci.at_home import at_home
from tests.luci.browser import NODE, Browser, Shown
from tests.luci.rpcd import STATUS, Rpcd, Session
from tests.luci.scenes import (
    ADOPTION_SECONDS,
    FAULT,
    FLOWS,
    INIT_SCRIPT,
    SCENES,
    configured,
    held_off,
    standing_by,
    steady,
)
from tests.service.composed import Home
from tests.virtual_time import now

pytestmark = pytest.mark.skipif(not NODE, reason="Node.js is not installed")

OVERVIEW = "view.flowguard.overview"
CONNECTIONS = "view.flowguard.connections"
BOX = "view.status.include.75_flowguard"
LOOKING = Session((STATUS,), ("read",))

# The box that a person sees first: its style, its heading, and what is said below it.
FIRST: dict[str, tuple[str, str, str]] = {
    "steady": ("success", "Hardware offloading is on.", f"{FLOWS} of {FLOWS} connections go"),
    "draining": ("notice", "Connections are leaving the hardware.", f"{FLOWS} flows and"),
    "held-off": ("warning", "Hardware offloading is on for 1 of 2 devices.", "The next try is in"),
    "canary": ("notice", "Hardware offloading is being tried again.", "One in 16 new connections"),
    "standing-by": ("notice", "Connections are leaving the hardware.", "stands by."),
    "module-missing": ("danger", "The kernel refuses flow offloading.", "kmod-nft-offload"),
    "not-enabled": ("warning", "flowguard is not enabled.", "forwarded without it"),
    "not-started": ("warning", "flowguard is not running.", "has not been started"),
    "crashed": ("danger", "flowguard has ended.", "Its exit code is 1."),
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_first_box_says_what_is_going_on(scene: str) -> None:
    async def use(home: Home, browser: Browser) -> None:
        await SCENES[scene](home, browser.router)
        page = await browser.open(OVERVIEW)
        style, heading, below = FIRST[scene]
        assert (page.styles[0], page.lines[1]) == (style, heading)
        assert page.has(below)
        assert not browser.router.refused
        box = await browser.open(BOX)
        # Nobody is bothered with what is not in use.
        assert box.styles == ([] if scene == "not-enabled" else [style])

    at_home(use, LOOKING)


def test_a_fault_can_be_followed_on_an_open_page() -> None:
    async def use(home: Home, browser: Browser) -> None:
        await steady(home, browser.router)
        page = await browser.open(OVERVIEW)
        assert page.lines.count("wan labdriver | Hardware | As wanted. |") == 1
        home.router.flows.leave_after = 0.0
        home.service.feed(FaultSeen(now(), FAULT))
        await home.settled()
        page = await browser.poll()
        (wan,) = [line for line in page.lines if line.startswith("wan labdriver")]
        assert "Software" in wan and "lan1 labdriver | Hardware | As wanted. |" in page.lines
        assert page.has("held off: driver fault netdev-watchdog")
        assert page.has("The next try is in 0h 9m")
        assert page.has(FAULT.line)  # among the decisions, as their evidence
        home.router.flows.offload(FLOWS)
        page = await browser.click("Try hardware now")
        await home.settled()
        page = await browser.poll()
        assert page.has("Hardware offloading is being tried again.")
        assert page.has("One in 16 connections tries the hardware.")
        page = await browser.click("Forget")
        await home.settled()
        page = await browser.poll()
        assert page.styles == ["success"]
        assert "Forget" not in page.buttons

    at_home(use)


def test_hold_suspend_and_resume() -> None:
    async def use(home: Home, browser: Browser) -> None:
        home.router.flows.leave_after = 0.0
        await steady(home, browser.router)
        await browser.open(OVERVIEW)
        await browser.choose("select", "3600")
        # The page looks again meanwhile, and what was chosen stays so.
        assert "3600" in (await browser.poll()).chosen
        began = home.service.now()
        page = await browser.click("No hardware for")
        assert home.status()["held_until"] == pytest.approx(began + 3600, abs=1)
        assert page.buttons == {
            "Try hardware now": True,
            "Suspend": True,
            "Allow hardware again": True,
        }
        page = await browser.click("Allow hardware again")
        assert home.status()["held_until"] is None
        await browser.click("Suspend")
        await home.settled()
        page = await browser.poll()
        assert (page.styles[0], page.lines[1]) == ("warning", "Flow offloading is suspended.")
        await browser.click("Resume")
        await home.settled()
        assert (await browser.poll()).styles == ["success"]

    at_home(use)


def test_the_firewalls_offloading_is_switched_off_by_a_button() -> None:
    async def use(home: Home, browser: Browser) -> None:
        home.router.flows.leave_after = 0.0
        await standing_by(home, browser.router)
        page = await browser.open(OVERVIEW)
        assert page.has("The firewall's own flow offloading is on.")
        page = await browser.click("Switch it off")
        assert browser.router.ran == ["/etc/init.d/flowguard adopt"]
        assert page.has("It is being switched off.") and "Switch it off" not in page.buttons
        await asyncio.sleep(ADOPTION_SECONDS + 1)
        await home.settled()
        assert (await browser.poll()).styles == ["success"]

    at_home(use)


def test_while_flowguard_does_not_run_the_firewalls_offloading_is_told_by_its_settings() -> None:
    async def use(home: Home, browser: Browser) -> None:
        for value, shown in (("0", False), ("1", True), ("yes", True), ("enabled", False)):
            configured(browser.router, enabled="0", firewall=value)
            browser.router.bus = None
            page = await browser.open(OVERVIEW)
            assert page.has("The firewall's own flow offloading is on.") is shown
            assert page.links == ["/cgi-bin/luci/admin/network/flowguard/settings"]

    at_home(use)


def test_what_a_program_complains_about_is_shown() -> None:
    async def use(home: Home, browser: Browser) -> None:
        await standing_by(home, browser.router)

        async def refuse(words: list[str]) -> dict[str, Any]:
            return {"code": 1, "stderr": "sh: flowguard: not found\n"}

        browser.router.programs[INIT_SCRIPT] = refuse
        await browser.open(OVERVIEW)
        page = await browser.click("Switch it off")
        assert page.notifications == ["sh: flowguard: not found"]
        assert page.buttons["Switch it off"]

    at_home(use)


def test_a_service_that_was_not_started_is_started_by_a_button() -> None:
    async def use(home: Home, browser: Browser) -> None:
        await steady(home, browser.router)
        await SCENES["not-started"](home, browser.router)
        await browser.open(OVERVIEW)
        page = await browser.click("Start")
        assert browser.router.ran == [
            "/etc/init.d/flowguard enable",
            "/etc/init.d/flowguard start",
        ]
        assert page.styles == ["success"]

    at_home(use)


def test_whoever_may_only_look_can_press_nothing_and_is_refused_by_the_router_too() -> None:
    async def use(home: Home, browser: Browser) -> None:
        await held_off(home, browser.router)
        page = await browser.open(OVERVIEW, readonly=True)
        assert page.buttons and not any(page.buttons.values())
        await browser.open(OVERVIEW)
        page = await browser.click("Suspend")
        assert browser.router.refused == ["flowguard suspend"]
        assert "Access denied" in page.notifications[0]
        assert not home.status()["suspended"]

    at_home(use, LOOKING)


def test_an_open_page_costs_one_look_at_the_status_and_leaves_alone_what_did_not_change() -> None:
    async def use(home: Home, browser: Browser) -> None:
        await held_off(home, browser.router)
        await browser.open(OVERVIEW)
        await browser.choose("details", "opened")
        browser.router.calls.clear()
        await asyncio.sleep(5)
        page = await browser.poll()
        assert browser.router.calls == ["flowguard status"]
        assert "opened" in page.chosen

    at_home(use)


def test_connections_are_listed_when_asked_for_and_can_be_searched() -> None:
    async def use(home: Home, browser: Browser) -> None:
        await steady(home, browser.router)
        home.router.flows.entries[0] = home.router.flows.entries[0]._replace(status=6)
        page = await browser.open(CONNECTIONS)
        assert len(listed(page)) == FLOWS
        page = await browser.choose("select", "none")
        assert [line.split(" | ")[1] for line in listed(page)] == ["Not offloaded"]
        await browser.choose("select", "")
        page = await browser.choose("input", "192.168.1.2:1003")
        assert [line.split(" | ")[:3] for line in listed(page)] == [
            ["tcp 192.168.1.2:1003 -> 203.0.113.1:443", "Hardware", "700 B"]
        ]
        home.router.flows.offload(3)
        await browser.choose("input", "")
        assert len(listed(await browser.click("Refresh"))) == 3
        assert not browser.router.refused

    at_home(use, LOOKING)


def listed(page: Shown) -> list[str]:
    return [line for line in page.lines if line.startswith("tcp ")]


def test_connections_that_cannot_be_read_are_no_blank_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def use(home: Home, browser: Browser) -> None:
        async def interrupted(limit: int) -> None:
            raise DumpInterrupted

        monkeypatch.setattr(home.service.arms, "flows", interrupted)
        page = await browser.open(CONNECTIONS)
        assert page.has("The connections cannot be listed: ")
        assert page.has("No connections")

    at_home(use)


def test_text_of_drivers_is_text() -> None:
    async def use(home: Home, browser: Browser) -> None:
        home.router.flows.leave_after = 0.0
        await steady(home, browser.router)
        planted = "<img src=x onerror=alert(1)> & more"
        home.service.feed(FaultSeen(now(), replace(FAULT, rule=planted, line=planted)))
        home.service.problems.found("driver", [planted])
        await home.settled()
        for page in (await browser.open(OVERVIEW), await browser.open(CONNECTIONS)):
            assert page.html == [] or page.html == ["No connections"]
        page = await browser.open(OVERVIEW)
        assert len([line for line in page.lines if planted in line]) >= 3

    at_home(use)


# --- what another version of the daemon may leave out -------------------------------------

Steps = list[tuple[str, ...]]


class Answers:
    """Stands for a daemon that says something else."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {}

    async def call(self, path: str, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if method == "flows":
            return {"flows": [{"flow": "tcp 1", "level": "wormhole"}, {}], "cut": {"flows": 3}}
        if method == "status":
            return self.status
        raise UbusError(Status.METHOD_NOT_FOUND)


def status_of(scene: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def use(home: Home, browser: Browser) -> None:
        await SCENES[scene](home, browser.router)
        found.update(home.status())

    at_home(use)
    return found


def without(status: dict[str, Any], paths: Steps) -> dict[str, Any]:
    """A copy that lacks a key at each of these places, as far as there is one."""
    copied = copy.deepcopy(status)
    for path in paths:
        inner: Any = copied
        for name in path[:-1]:
            inner = inner.get(name) if isinstance(inner, dict) else None
        for part in inner if isinstance(inner, list) else [inner]:
            if isinstance(part, dict):
                part.pop(path[-1], None)
    return copied


def places(status: Any, above: tuple[str, ...] = ()) -> Steps:
    if isinstance(status, list):
        status = status[0] if status else None
    if not isinstance(status, dict):
        return []
    return [p for name in status for p in ((*above, name), *places(status[name], (*above, name)))]


def test_missing_and_unknown_keys_break_no_page() -> None:
    answers = Answers()
    statuses = {scene: status_of(scene) for scene in ("held-off", "canary", "draining")}

    with browser.started(Rpcd(answers)) as shown:

        @settings(max_examples=60)
        @given(st.data())
        def look(data: st.DataObject) -> None:
            status = data.draw(st.sampled_from(list(statuses.values())))
            gone = data.draw(st.lists(st.sampled_from(places(status)), max_size=12))
            answers.status = {
                **without(status, gone),
                "rescue": {"strange": [1]},
                "bytes": {"a": 1},
            }
            page = asyncio.run(shown.open(OVERVIEW))
            assert page.styles and not page.has("undefined") and not page.has("NaN")
            assert not page.has("strange")
            assert asyncio.run(shown.poll()).lines == page.lines

        look()
        answers.status = {}
        assert asyncio.run(shown.open(OVERVIEW)).lines[1] == "Nothing is offloaded."
        assert asyncio.run(shown.open(CONNECTIONS)).has("tcp 1 | wormhole | 0 B")


def test_missing_devices_and_a_reboot_that_nobody_planned_are_told() -> None:
    answers = Answers()
    answers.status = status_of("steady")
    answers.status["missing_devices"] = ["wan9"]
    answers.status["left_out"] = [{"name": "phy0-ap0", "reason": "Wi-Fi roams"}]
    answers.status["boot"] |= {"unplanned": True, "evidence": "kernel panic in mtk_ppe"}
    with browser.started(Rpcd(answers)) as shown:
        page = asyncio.run(shown.open(OVERVIEW))
        assert any(line.startswith("wan9 | missing | ") for line in page.lines)
        assert "phy0-ap0 | left out | Wi-Fi roams |" in page.lines
        assert page.styles == ["success", "warning"]
        assert page.has("not rebooted on purpose: kernel panic in mtk_ppe")


def test_a_refused_request_is_told() -> None:
    answers = Answers()
    with browser.started(Rpcd(answers)) as shown:
        asyncio.run(shown.open(OVERVIEW))
        page = asyncio.run(shown.click("Suspend"))
        assert page.notifications == ["RPC call to flowguard/suspend failed with ubus code 3"]
