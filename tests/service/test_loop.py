# SPDX-License-Identifier: GPL-2.0-or-later
"""One event, one order: decide, act, save, tell; and nothing that is told keeps it from acting."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from flowguard.core.events import FaultSeen
from flowguard.core.model import Attribution, Decision, Fault, FaultClass, Level
from flowguard.core.records import replace
from flowguard.core.requests import HoldAsked, WantedChanged
from flowguard.kernel.nftables.changes import Change, CreateTable
from tests.actuators.router import LAN, WAN, Router
from tests.service.composed import CONFIGURED, Home, at_home
from tests.virtual_time import now

HARDWARE, SOFTWARE = Level.HARDWARE, Level.SOFTWARE
FAULT = Fault("r", FaultClass.TX_TIMEOUT, Attribution.DRIVER, WAN, "labdriver", "timed out\0")


class Deaf:
    """A script or a bus that nothing can be told."""

    def moved(self, decision: Decision) -> None:
        raise OSError(errno.EPIPE, "Broken pipe")

    def fault_seen(self, fault: Fault) -> None:
        raise OSError(errno.EPIPE, "Broken pipe")

    def power_cycle_needed(self, device: str, evidence: str) -> None:
        raise OSError(errno.EPIPE, "Broken pipe")


class NoNul(logging.Handler):
    """As syslog(3) of Python 3.12 and later."""

    def emit(self, record: logging.LogRecord) -> None:
        if "\0" in record.getMessage():
            raise ValueError("embedded null character")


@pytest.fixture
def no_nul() -> Iterator[None]:
    handler = NoNul()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


def hardware_devices(home: Home) -> tuple[str, ...]:
    hardware = home.router.hardware
    return hardware.devices if hardware and hardware.rules else ()


def test_it_starts_on_the_level_that_is_wanted() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        assert hardware_devices(home) == (LAN, WAN)
        assert home.service.state.level is HARDWARE

    at_home(use)


def test_a_fault_steps_down_though_nobody_can_be_told(no_nul: None) -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.flash.full_below = "/var/run"
        home.service.telling.add("hook", Deaf())
        home.service.telling.add("ubus events", Deaf())
        home.service.feed(FaultSeen(now(), FAULT))
        assert home.service.state.level_of(WAN) is SOFTWARE
        assert home.status()["sensors"]["log"] == "not available: embedded null character"
        await home.until(lambda: hardware_devices(home) == (LAN,))
        await home.settled()
        sensors = home.status()["sensors"]
        assert "No space left on device" in sensors["event log"]
        assert "Broken pipe" in sensors["hook"] and "Broken pipe" in sensors["ubus events"]
        # And the timers run on.
        await asyncio.sleep(CONFIGURED.hold_off)
        assert home.service.state.level_of(WAN) is HARDWARE

    at_home(use)


def test_a_line_of_the_kernel_leads_to_a_step_down_with_a_full_disk() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.flash.full_below = "/var/run"
        home.router.kernel_log.write(
            f"NETDEV WATCHDOG: {WAN} (labdriver): transmit queue 0 timed out 5000 ms"
        )
        await home.until(lambda: home.service.state.level_of(WAN) is SOFTWARE)
        await home.until(lambda: hardware_devices(home) == (LAN,))
        assert now() < 60

    at_home(use)


def test_when_the_disk_has_room_again_its_health_is_well_again() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.flash.full_below = "/var/run"
        home.service.feed(FaultSeen(now(), FAULT))
        assert "event log" in home.status()["sensors"]
        home.router.flash.full_below = "nothing"
        home.service.feed(FaultSeen(now(), FAULT))
        assert "event log" not in home.status()["sensors"]

    at_home(use)


def test_decided_acted_saved_and_told_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(home: Home) -> None:
        await home.settled()
        service, order = home.service, list[str]()

        def noted(name: str, call: Any) -> Any:
            def first_note(*given: Any) -> Any:
                order.append(f"{name} {service.state.level_of(WAN)}")
                return call(*given)

            return first_note

        monkeypatch.setattr(service.newest_plan, "start", noted("act", service.newest_plan.start))
        monkeypatch.setattr(service.ledger, "save", noted("save", service.ledger.save))
        monkeypatch.setattr(service.telling, "tell", noted("tell", lambda command: None))
        append = home.router.flash.append
        monkeypatch.setattr(home.router.flash, "append", noted("record", append))
        service.feed(FaultSeen(now(), FAULT))
        assert list(dict.fromkeys(order)) == [
            "act software",
            "save software",
            "tell software",
            "record software",
        ]

    at_home(use)


def test_the_way_up_waits_for_flash() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.service.feed(WantedChanged(now(), SOFTWARE))
        await home.settled()
        assert hardware_devices(home) == () and home.router.software
        await home.service.ledger.kept()
        home.router.flash.works.clear()
        begun = len(home.router.ruleset.begun)
        home.service.feed(WantedChanged(now(), HARDWARE))
        await asyncio.sleep(500)
        assert len(home.router.ruleset.begun) == begun
        home.router.flash.works.set()
        await home.settled()
        assert hardware_devices(home) == (LAN, WAN)

    at_home(use)


def test_the_way_down_does_not_wait_for_flash() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.flash.works.clear()
        home.service.feed(FaultSeen(now(), replace(FAULT, device=None, driver="labdriver")))
        await asyncio.sleep(0.1)
        assert hardware_devices(home) == ()
        await home.settled()
        assert home.router.hardware is None and home.router.software
        assert not home.service.ledger.is_kept
        home.router.flash.works.set()

    at_home(use)


def test_no_driver_is_tried_before_flash_has_the_intent() -> None:
    configuration = replace(CONFIGURED, level=SOFTWARE)

    async def use(home: Home) -> None:
        await home.settled()
        await home.service.ledger.kept()
        assert not home.router.ruleset.tried
        home.router.flash.works.clear()
        home.service.feed(WantedChanged(now(), HARDWARE))
        await asyncio.sleep(500)
        assert not home.router.ruleset.tried
        home.router.flash.works.set()
        await home.settled()
        assert home.router.ruleset.tried

    at_home(use, configuration=configuration)


def test_what_has_to_be_saved_during_a_look_at_the_devices_loses_no_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configuration = replace(CONFIGURED, level=SOFTWARE)

    async def use(home: Home) -> None:
        await home.settled()
        router, scan = home.router, home.router.network.scan

        async def slow(*given: Any) -> Any:
            await asyncio.sleep(10)
            return await scan(*given)

        monkeypatch.setattr(router.network, "scan", slow)
        home.service.feed(WantedChanged(now(), HARDWARE))
        await asyncio.sleep(5)
        assert home.service.ledger.is_kept
        router.flash.works.clear()
        home.service.feed(HoldAsked(now(), 0))
        await asyncio.sleep(100)
        assert not router.ruleset.tried
        router.flash.works.set()
        await home.until(lambda: hardware_devices(home) == (LAN, WAN))

    at_home(use, configuration=configuration)


def test_tables_that_cannot_even_be_planned_are_a_refusal_and_not_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def use(home: Home) -> None:
        def broken(*given: Any) -> None:
            raise ZeroDivisionError("boom")

        await home.settled()
        monkeypatch.setattr("flowguard.service.loop.plan", broken)
        home.service.converge_again()
        await asyncio.sleep(0.1)
        failure = home.service.state.failure
        assert failure and "boom" in failure.error
        monkeypatch.undo()
        await asyncio.sleep(60)
        await home.settled()
        assert not home.service.state.failure and hardware_devices(home) == (LAN, WAN)

    at_home(use)


def test_hardware_is_written_down_before_the_kernel_is_asked_for_it() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        known = [intent for is_hardware, intent in asked if is_hardware]
        assert known and all(known)

    def asks(change: Change) -> None:
        is_hardware = isinstance(change, CreateTable) and change.table.hardware
        state = router.flash.texts.get("/etc/flowguard/state.json", "{}")
        asked.append((is_hardware, json.loads(state).get("intent") is not None))

    router, asked = Router(), list[tuple[bool, bool]]()
    router.ruleset.refuse = asks
    at_home(use, router=router)
