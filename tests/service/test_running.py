# SPDX-License-Identifier: GPL-2.0-or-later
"""How a life of the service starts and ends, whoever asks for what meanwhile."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowguard.core.events import (
    DevicesChanged,
    Event,
    FaultSeen,
    SensorBack,
    SensorLost,
    StandbyChanged,
    TablesLost,
    Tick,
)
from flowguard.core.model import Attribution, Fault, FaultClass, Level
from flowguard.core.records import replace
from flowguard.core.requests import HoldAsked, RetryAsked, SuspendAsked, WantedChanged
from flowguard.kernel.nftables.changes import Change, DeleteTable
from flowguard.kernel.nftables.ruleset import TablesState
from flowguard.service.control import NotNow
from flowguard.service.running import End
from tests.actuators.router import LAN, WAN, Router, refused
from tests.service.composed import (
    CONFIGURED,
    Home,
    live,
    memory,
    next_boot,
    on_hardware,
)
from tests.virtual_time import now

HARDWARE, SOFTWARE = Level.HARDWARE, Level.SOFTWARE
NOTHING = TablesState(None, None)
FAULT = Fault("r", FaultClass.TX_TIMEOUT, Attribution.DRIVER, WAN, "labdriver", "line")


# --- what is left behind -----------------------------------------------------------------


def test_a_stop_leaves_software_behind_and_is_planned() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        assert memory(home.router)["intent"]
        assert await home.running.end(End.DRAIN) == ()
        router = home.router
        assert router.hardware is None and router.software and router.software.rules
        assert router.timeouts.flow_timeouts == [30, 30]
        assert memory(router)["intent"] is None and memory(router)["boots"]["early"] == 0

    live(use)


def test_the_planned_end_is_on_flash_before_the_daemon_is_gone() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        await home.service.ledger.kept()
        home.router.flash.works.clear()
        ending = asyncio.create_task(home.running.end(End.DRAIN))
        await asyncio.sleep(12)
        assert home.router.hardware is None and not ending.done()
        home.router.flash.works.set()
        await ending
        assert memory(home.router)["intent"] is None

    live(use)


def test_flash_that_never_answers_keeps_nobody_from_ending() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        await home.service.ledger.kept()
        home.router.flash.works.clear()
        await home.running.end(End.DRAIN)
        assert home.router.hardware is None and now() < 60

    live(use)


def test_a_restart_leaves_everything_as_it_is_and_the_intent_stands() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        before = home.router.ruleset.state
        await home.running.end(End.KEEP)
        assert home.router.ruleset.state == before
        assert [d["name"] for d in memory(home.router)["intent"]["devices"]] == [LAN, WAN]

    live(use)


def test_a_reboot_is_planned_at_once_and_touches_no_flow() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        before, then = home.router.ruleset.state, now()
        await home.running.end(End.REBOOT)
        assert home.router.ruleset.state == before and now() - then < 1
        assert memory(home.router)["intent"] is None

    live(use)


@pytest.mark.parametrize(
    ("how", "unplanned"),
    [(End.DRAIN, False), (End.RELEASE, False), (End.REBOOT, False), (End.KEEP, True)],
)
def test_a_stop_and_a_reboot_twice_convict_nobody(how: End, unplanned: bool) -> None:
    """After a restart the next daemon should have been there: who died then is not known."""
    routers = [Router()]

    async def use(home: Home) -> None:
        await on_hardware(home)
        await home.running.end(how)

    async def look(home: Home) -> None:
        await home.running.started()
        assert home.service.state.boots.unplanned is unplanned
        assert bool(home.service.state.boots.unknown) is unplanned
        if not unplanned:
            await on_hardware(home)
        await home.running.end(how)

    live(use, lambda: Home(router=routers[-1]))
    for _ in range(2):
        routers.append(next_boot(routers[-1]))
        live(look, lambda: Home(router=routers[-1]))
        if unplanned:
            return


# --- the release -------------------------------------------------------------------------

EVENTS: list[Callable[[float], Event]] = [
    Tick,
    TablesLost,
    RetryAsked,
    lambda time: WantedChanged(time, HARDWARE),
    lambda time: WantedChanged(time, SOFTWARE),
    lambda time: HoldAsked(time, 0),
    lambda time: SuspendAsked(time, suspended=True),
    lambda time: SuspendAsked(time, suspended=False),
    lambda time: FaultSeen(time, FAULT),
    lambda time: StandbyChanged(time, "stopped"),
    lambda time: StandbyChanged(time, ""),
    lambda time: SensorLost(time, "kmsg", "gone"),
    lambda time: SensorBack(time, "kmsg"),
    lambda time: DevicesChanged(time, ()),
]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.floats(0, 8)), max_size=12))
def test_whatever_happens_during_a_release_there_is_nothing_after_it(
    story: list[tuple[Callable[[float], Event], float]],
) -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        home.router.flows.leave_after = 20.0
        ending = asyncio.create_task(home.running.end(End.RELEASE))
        for event, seconds in story:
            await asyncio.sleep(seconds)
            if not ending.done():
                home.service.feed(event(now()))
        await ending
        assert home.router.ruleset.state == NOTHING

    routers: list[Router] = []

    def home() -> Home:
        made = Home()
        routers.append(made.router)
        return made

    live(use, home)
    assert routers[0].ruleset.state == NOTHING
    assert routers[0].timeouts.flow_timeouts == [30, 30]


def test_a_reload_and_a_look_during_a_release_bring_nothing_up() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        home.router.flows.leave_after = 20.0
        ending = asyncio.create_task(home.running.end(End.RELEASE))
        await asyncio.sleep(1)
        home.platform.configure(replace(CONFIGURED, control_share=4, level=SOFTWARE))
        await home.running.reload()
        await home.running.look_again()
        home.service.converge_again()
        await ending
        assert home.router.ruleset.state == NOTHING

    live(use)


def test_a_release_tells_what_would_not_leave_hardware() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        home.router.flows.leave_after = None
        reply = await home.daemon.api.call("stop", {"release": True})
        assert len(reply["left_in_hardware"]) == 3
        assert home.router.ruleset.state == NOTHING

    live(use)


@pytest.mark.parametrize("params", [{"release": True}, {"how": "drain"}])
def test_an_end_that_the_kernel_refuses_is_told_and_guarding_goes_on(
    params: dict[str, Any],
) -> None:
    def refuse(change: Change) -> None:
        if isinstance(change, DeleteTable) or str(change).startswith("delete the rules"):
            raise refused(change, errno.EOPNOTSUPP)

    async def use(home: Home) -> None:
        await on_hardware(home)
        home.router.ruleset.refuse = refuse
        with pytest.raises(NotNow, match=r"not supported.*goes on guarding"):
            await home.daemon.api.call("stop", params)
        assert not home.running.stopping and home.status()["state"] != "stopped"
        assert home.service.state.target is HARDWARE and home.service.state.leave is None
        assert home.service.state.armed, "nobody promises a planned end"
        home.router.ruleset.refuse = lambda change: None
        await asyncio.sleep(400)
        await home.settled()
        assert home.service.state.level is HARDWARE
        home.service.feed(FaultSeen(now(), FAULT))
        await home.settled()
        assert home.router.hardware and home.router.hardware.devices == (LAN,)
        await asyncio.sleep(CONFIGURED.hold_off)
        assert home.service.state.level_of(WAN) is HARDWARE, "timers run on"
        await home.running.end(End.RELEASE)
        assert home.router.ruleset.state == NOTHING

    live(use)


def test_a_driver_stuck_with_hardware_on_is_no_end_that_left_it() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        home.router.ruleset.works.clear()
        with pytest.raises(NotNow):
            await home.daemon.api.call("stop", {})
        assert not home.running.stopping and home.service.state.armed
        await home.running.end_anyway(End.DRAIN)
        assert memory(home.router)["intent"]

    live(use)
