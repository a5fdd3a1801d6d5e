# SPDX-License-Identifier: GPL-2.0-or-later
"""The door is open from the start on, and what was not read yet is not written over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowguard.core.events import FaultSeen
from flowguard.core.model import Attribution, Fault, FaultClass, Level
from flowguard.core.records import replace
from flowguard.core.state import GUARDS
from flowguard.kernel.nftables.changes import Change, CreateTable
from flowguard.kernel.nftables.ruleset import ForeignFlowtable, TablesState
from flowguard.sensors.firewall import OWN_OFFLOADING
from flowguard.service.running import End
from tests import virtual_time
from tests.actuators.router import LAN, WAN, Router
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


class Gate:
    """A door of the daemon; `is_open` while requests are served."""

    def __init__(self) -> None:
        self.is_open = False

    async def start(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


def test_the_door_is_open_while_the_daemon_is_still_starting_and_stop_is_answered() -> None:
    gate, router = Gate(), Router()
    router.flash.works.clear()  # It waits for flash when it begins.

    async def use(home: Home) -> None:
        await asyncio.sleep(1)
        assert gate.is_open
        status = asyncio.create_task(home.daemon.api.call("status", {}))
        stop = asyncio.create_task(home.daemon.api.call("stop", {"release": True}))
        await asyncio.sleep(3)
        assert (await status)["devices"] == [] and not stop.done()
        router.flash.works.set()
        assert await stop == {"left_in_hardware": []}
        assert router.ruleset.state == NOTHING

    live(use, lambda: Home(router=router, doors=(gate,)))
    assert not gate.is_open and router.ruleset.state == NOTHING


class Attendance:
    """Tells somebody that the daemon is ready; it knows since when."""

    name = "supervisor"
    patience: float | None = None

    def __init__(self) -> None:
        self.ready: float | None = None

    async def run(self, alive: Callable[[], None]) -> None:
        self.ready = now()
        await asyncio.Event().wait()


def test_a_look_at_the_devices_that_hangs_keeps_no_guard_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router, attendance, answers = Router(), Attendance(), asyncio.Event()
    scan = router.network.scan

    async def hang(*given: Any) -> Any:
        await answers.wait()
        return await scan(*given)

    monkeypatch.setattr(router.network, "scan", hang)

    async def use(home: Home) -> None:
        await asyncio.sleep(100)
        health = home.service.supervision.health
        assert {name: health.get(name) for name in GUARDS} == dict.fromkeys(GUARDS, "ok")
        assert router.kernel_log.listening
        assert attendance.ready is None, "nothing is ready yet"
        answers.set()
        await on_hardware(home)
        assert attendance.ready == 100
        await home.running.end(End.KEEP)

    live(use, lambda: Home(router=router, late=(attendance,)))


def test_a_firewall_that_begins_to_offload_during_the_start_is_stood_by_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does so after the first look at its tables, and before anybody listens."""
    router = Router()
    see = router.ruleset.foreign_flowtables

    async def see_and_change() -> tuple[ForeignFlowtable, ...]:
        found = await see()
        router.ruleset.foreign = (ForeignFlowtable("fw4", False, (LAN, WAN)),)
        return found

    monkeypatch.setattr(router.ruleset, "foreign_flowtables", see_and_change)

    async def use(home: Home) -> None:
        await home.running.started()
        await home.until(lambda: home.service.state.standby == OWN_OFFLOADING)
        await home.settled()
        assert router.ruleset.state == NOTHING
        await home.running.end(End.KEEP)

    live(use, lambda: Home(router=router))


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


def test_a_boot_that_the_first_look_at_the_engine_has_ended_costs_the_look_and_no_hardware() -> (
    None
):
    first = Router()
    first.engines.entries = []
    first.engines.hangs = True

    async def crash(home: Home) -> None:
        await on_hardware(home)
        await home.until(lambda: first.engines.sweeps)
        # On flash by the time the driver is asked; here the kernel dies.
        assert memory(first)["looking"] and memory(first)["intent"]
        home.running.end_now()

    async def use(home: Home) -> None:
        await on_hardware(home)
        status = home.status()
        assert status["boot"]["unplanned"] and not home.service.state.boots.unknown
        assert status["sensors"]["engine"].startswith("not available: reading it has crashed")
        assert all(device["strikes"] == 0 for device in status["devices"])
        # A step down is drained without it.
        home.service.feed(FaultSeen(now(), FAULT))
        await asyncio.sleep(60)
        assert home.status()["drain"] is None and not router.engines.sweeps
        home.running.end_now()

    live(crash, lambda: Home(router=first))
    router = next_boot(first)
    router.engines.entries = []
    live(use, lambda: Home(router=router))


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
