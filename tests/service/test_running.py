# SPDX-License-Identifier: GPL-2.0-or-later
"""How a life of the service starts and ends, whoever asks for what meanwhile."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowguard import rules
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
from flowguard.kernel.nftables.changes import Change, CreateTable, DeleteTable
from flowguard.kernel.nftables.ruleset import TablesState
from flowguard.paths import Paths
from flowguard.platform.configuration.loading import Loaded
from flowguard.service import wiring
from flowguard.service.control import NotNow
from flowguard.service.running import End
from tests import virtual_time
from tests.actuators.router import LAN, WAN, Router, refused
from tests.service.composed import CONFIGURED, PATHS, PATIENCE, Home
from tests.virtual_time import now

HARDWARE, SOFTWARE = Level.HARDWARE, Level.SOFTWARE
NOTHING = TablesState(None, None)
STATE = "/etc/flowguard/state.json"
FAULT = Fault("r", FaultClass.TX_TIMEOUT, Attribution.DRIVER, WAN, "labdriver", "line")
Use = Callable[[Home], Awaitable[None]]


class Gate:
    """A door of the daemon; `is_open` while requests are served."""

    def __init__(self) -> None:
        self.is_open = False

    async def start(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


def live(use: Use, home: Callable[[], Home] = Home) -> None:
    """A life that `use` has to end."""

    async def run() -> None:
        made = home()
        life = asyncio.create_task(made.running.run())
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await use(made)
            await life

    virtual_time.run(run())


async def on_hardware(home: Home, flows: int = 3) -> None:
    await home.running.started()
    await home.settled()
    assert home.service.state.level is HARDWARE
    home.router.flows.offload(flows)


def memory(router: Router) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(router.flash.texts[STATE])
    return found


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


def next_boot(router: Router) -> Router:
    """The same flash after a reboot."""
    born = Router()
    born.flash.texts = {p: t for p, t in router.flash.texts.items() if p.startswith("/etc")}
    born.clock.boot_id = f"{router.clock.boot_id}+"
    return born


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


# --- the start ---------------------------------------------------------------------------


def test_the_door_is_open_while_the_daemon_is_still_starting_and_stop_is_answered() -> None:
    gate, router = Gate(), Router()
    router.flash.works.clear()  # It waits for flash when it begins.

    async def use(home: Home) -> None:
        await asyncio.sleep(1)
        assert gate.is_open
        status = asyncio.create_task(home.daemon.api.call("status", {}))
        stop = asyncio.create_task(home.daemon.api.call("stop", {"release": True}))
        await asyncio.sleep(3)
        assert not status.done() and not stop.done()
        router.flash.works.set()
        assert await stop == {"left_in_hardware": []}
        assert router.ruleset.state == NOTHING
        assert (await status)["state"] == "stopped"

    live(use, lambda: Home(router=router, doors=(gate,)))
    assert not gate.is_open and router.ruleset.state == NOTHING


@pytest.mark.parametrize("steps", range(0, 200, 7))
def test_a_release_at_any_moment_of_the_start_leaves_nothing(steps: int) -> None:
    async def use(home: Home) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        await home.running.end(End.RELEASE)
        assert home.router.ruleset.state == NOTHING

    router = Router()
    live(use, lambda: Home(router=router))
    assert router.ruleset.state == NOTHING


@pytest.mark.parametrize("how", End)
def test_an_end_before_anything_was_read_overwrites_nothing(how: End) -> None:
    first = Router()

    async def convict(home: Home) -> None:
        await on_hardware(home)
        home.service.feed(FaultSeen(now(), FAULT))
        await home.service.ledger.kept()
        await home.running.end(End.KEEP)

    async def never() -> TablesState:
        await asyncio.Event().wait()
        return NOTHING

    async def use(home: Home) -> None:
        await home.running.end_anyway(how)
        assert [v["device"] for v in memory(home.router)["verdicts"]] == [WAN]

    live(convict, lambda: Home(router=first))
    router = next_boot(first)
    router.ruleset.read = never  # type: ignore[method-assign]
    live(use, lambda: Home(router=router))
    assert [v["device"] for v in memory(router)["verdicts"]] == [WAN]


def test_a_reload_before_anything_was_read_waits_for_the_start() -> None:
    router = Router()
    router.flash.works.clear()

    async def use(home: Home) -> None:
        home.platform.configure(replace(CONFIGURED, level=SOFTWARE))
        reload = asyncio.create_task(home.running.reload())
        await asyncio.sleep(5)
        assert not reload.done()
        router.flash.works.set()
        await reload
        assert home.service.state.wanted is SOFTWARE
        await home.running.end(End.KEEP)

    live(use, lambda: Home(router=router))


def test_a_driver_stuck_at_the_first_use_keeps_no_status_from_being_answered() -> None:
    router = Router()

    def stuck(change: Change) -> None:
        if isinstance(change, CreateTable) and change.table.hardware:
            raise AssertionError("it never comes to its end")

    router.ruleset.works.clear()
    router.ruleset.refuse = stuck

    async def use(home: Home) -> None:
        async with asyncio.timeout(10):
            assert (await home.daemon.api.call("status", {}))["level"] == "none"
        await asyncio.sleep(60)
        status = await home.daemon.api.call("status", {})
        assert any("a driver may be stuck" in problem for problem in status["problems"])
        await home.running.end(End.KEEP)

    live(use, lambda: Home(router=router))


def test_a_start_that_fails_is_an_end_and_raises_what_it_failed_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*given: Any) -> Any:
        raise ZeroDivisionError("boom")

    async def run() -> None:
        home = Home()
        monkeypatch.setattr(home.service.ledger, "begin", fail)
        await home.running.run()

    with pytest.raises(ZeroDivisionError):
        virtual_time.run(run())


# --- signals -----------------------------------------------------------------------------


def serving(tmp_path: Path, router: Router, use: Callable[[], Awaitable[None]]) -> None:
    """The whole of the wiring on this router, through `use`, which has to end it."""
    paths = Paths(None, PATHS.state_directory, str(tmp_path / "control.sock"))

    async def run() -> None:
        loaded, fault_rules = Loaded(CONFIGURED, ()), rules.load_usable(())
        life = asyncio.create_task(wiring.serve(router.machine, paths, loaded, fault_rules, "", 0))
        await use()
        async with asyncio.timeout(60):
            await life

    virtual_time.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(200):
        while not condition():
            await asyncio.sleep(0.1)


def test_a_signal_ends_as_a_stop_does(tmp_path: Path) -> None:
    router = Router()

    async def use() -> None:
        await until(lambda: router.hardware and router.hardware.rules)
        router.flows.offload(3)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: router.hardware is None)

    serving(tmp_path, router, use)
    assert router.software and memory(router)["intent"] is None


def test_ctrl_c_during_a_drain_waits_for_nothing_any_more(tmp_path: Path) -> None:
    router = Router()
    router.flows.leave_after = None

    async def use() -> None:
        await until(lambda: router.hardware and router.hardware.rules)
        router.flows.offload(3)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: router.timeouts.zeroed)
        await asyncio.sleep(5)
        assert (tmp_path / "control.sock").exists()
        os.kill(os.getpid(), signal.SIGTERM)  # procd and systemd send it again unawares.
        await asyncio.sleep(5)
        assert (tmp_path / "control.sock").exists()
        os.kill(os.getpid(), signal.SIGINT)
        before = now()
        await until(lambda: not (tmp_path / "control.sock").exists())
        assert now() - before < 2

    serving(tmp_path, router, use)
    assert router.timeouts.flow_timeouts != [0, 0]
    assert not memory(router)["intent"], "somebody wanted it so"
