# SPDX-License-Identifier: GPL-2.0-or-later
"""What is kept of the moment of a fault, how much of it, and what it must not disturb."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from flowguard.core.events import EngineSeen, FaultSeen
from flowguard.core.model import Attribution, Fault, FaultClass, Level
from flowguard.core.records import replace
from flowguard.core.requests import WantedChanged
from flowguard.kernel.pstore import Dump, Dumps
from flowguard.service.frozen_moments import KEPT, QUIET_SECONDS, SIZE_LIMIT, path_of
from tests.actuators.router import WAN, Router
from tests.service.composed import Home, at_home, live, memory, next_boot, on_hardware
from tests.virtual_time import now

FOLDER = "/var/run/flowguard"
FAULT = Fault("tx-timeout", FaultClass.TX_TIMEOUT, Attribution.DRIVER, WAN, None, "timed out")
OOPS = "BUG: kernel NULL pointer dereference, address: 0000000000000000"


def kept(home: Home) -> list[dict[str, Any]]:
    """The newest first."""
    texts = home.router.flash.texts
    paths = [path_of(FOLDER, number) for number in range(1, KEPT + 2)]
    return [json.loads(texts[path]) for path in paths if path in texts]


async def fault(home: Home, rule: str = "tx-timeout") -> None:
    home.service.feed(FaultSeen(now(), replace(FAULT, rule=rule)))
    await asyncio.sleep(0.1)


def test_status_levels_and_the_kernels_lines_of_a_fault_are_kept() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        home.router.kernel_log.write("eth0: link is up", "wan: it hangs")
        await fault(home)
        (moment,) = kept(home)
        assert moment["cause"] == "driver fault tx-timeout"
        assert moment["status"]["flows"]["hardware"] is not None
        assert moment["status"]["decisions"][-1]["to"] == Level.SOFTWARE
        assert moment["kernel_log"][-1].endswith("] wan: it hangs")

    at_home(use)


def test_what_is_done_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(home: Home) -> None:
        async def never(most: int) -> list[bytes]:
            await asyncio.get_running_loop().create_future()
            return []

        await on_hardware(home)
        monkeypatch.setattr(home.router.kernel_log, "recent", never)
        await fault(home)
        assert home.service.state.level_of(WAN) is Level.SOFTWARE
        await home.settled()
        assert home.router.hardware and WAN not in home.router.hardware.devices

    at_home(use)


def test_of_a_burst_the_first_is_kept() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        for rule in ("first", "second", "third"):
            await fault(home, rule)
        await asyncio.sleep(QUIET_SECONDS)
        await fault(home, "later")
        assert [m["cause"] for m in kept(home)] == ["driver fault later", "driver fault first"]

    at_home(use)


def test_no_more_than_so_many_are_kept_and_the_oldest_goes() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        for number in range(KEPT + 3):
            await fault(home, f"r{number}")
            await asyncio.sleep(QUIET_SECONDS)
        causes = [f"driver fault r{number}" for number in range(KEPT + 2, 2, -1)]
        assert [m["cause"] for m in kept(home)] == causes

    at_home(use)


def test_a_flood_of_lines_is_cut_at_its_oldest_end() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.kernel_log.write(*(f"{n} " + "\\x07" * 500 for n in range(400)), "the newest")
        await fault(home)
        text = home.router.flash.texts[path_of(FOLDER, 1)]
        assert SIZE_LIMIT / 2 < len(text.encode()) <= SIZE_LIMIT
        assert kept(home)[0]["kernel_log"][-1].endswith("the newest")

    at_home(use)


def test_what_programs_wrote_is_not_among_the_kernels_lines() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        log = home.router.kernel_log
        log.records.append((900, b"12,900,1,-;from a program\n"))
        log.write("from the kernel")
        await fault(home)
        assert [line.split("] ")[1] for line in kept(home)[0]["kernel_log"]] == ["from the kernel"]

    at_home(use)


def test_a_weak_fault_by_itself_and_what_people_want_are_no_such_moments() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        weak = Fault("r", FaultClass.DRIVER_ERROR, Attribution.WEAK, WAN, None, "odd")
        home.service.feed(FaultSeen(now(), weak))
        home.service.feed(WantedChanged(now(), Level.SOFTWARE))
        await asyncio.sleep(1)
        assert kept(home) == []

    at_home(use)


def test_a_conviction_without_any_line_is_one() -> None:
    async def use(home: Home) -> None:
        await on_hardware(home)
        home.service.feed(EngineSeen(now(), ("a", "b", "c"), 3, (), 0))
        await asyncio.sleep(1)
        assert "engine-orphans" in kept(home)[0]["cause"]

    at_home(use)


def test_what_is_remembered_at_a_start_is_none_and_an_unplanned_reboot_is() -> None:
    homes: list[Home] = []

    async def first(home: Home) -> None:
        homes.append(home)
        await on_hardware(home)
        await fault(home)
        await asyncio.sleep(0.5)
        home.running.end_now()

    async def restarted(home: Home) -> None:
        await home.running.started()
        await asyncio.sleep(1)
        assert kept(home) == []
        home.running.end_now()

    live(first)
    assert memory(homes[0].router)["verdicts"]

    def same_boot() -> Home:
        router = next_boot(homes[0].router)
        router.clock.boot_id = homes[0].router.clock.boot_id
        return Home(router=router)

    live(restarted, same_boot)


def test_after_an_unplanned_reboot_its_last_words_are_kept() -> None:
    homes: list[Home] = []

    async def first(home: Home) -> None:
        homes.append(home)
        await on_hardware(home)
        home.running.end_now()

    async def second(home: Home) -> None:
        await home.running.started()
        await asyncio.sleep(1)
        (moment,) = kept(home)
        assert moment["cause"].startswith("unplanned reboot: ")
        assert f"[  100.000000] {OOPS}" in moment["kernel_log"]
        home.running.end_now()

    def after_the_crash() -> Home:
        router = next_boot(homes[0].router)
        crash = Dump("dmesg-ramoops-0", "Oops", f"[  100.000000] {OOPS}\n", ("it",))
        router.last_boot.left = Dumps((crash,), ())
        return Home(router=router)

    live(first)
    live(second, after_the_crash)


def test_the_last_words_of_a_boot_that_ended_as_planned_are_no_part_of_a_later_moment() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        await fault(home)
        assert not any(OOPS in line for line in kept(home)[0]["kernel_log"])
        assert home.service.moments.last_words == ()

    router = Router()
    router.last_boot.left = Dumps((Dump("dmesg-ramoops-0", "Oops", OOPS, ("it",)),), ())
    at_home(use, router=router)


def test_no_room_is_told_once_as_health_and_what_there_was_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def use(home: Home) -> None:
        await home.settled()
        await fault(home, "before")
        home.router.flash.full_below = f"{FOLDER}/moment"
        for _ in range(3):
            await asyncio.sleep(QUIET_SECONDS)
            await fault(home)
        assert "No space left" in home.status()["sensors"]["frozen moments"]
        told = [r for r in caplog.records if "frozen moments" in r.getMessage()]
        assert len(told) == 1
        assert [m["cause"] for m in kept(home)] == ["driver fault before"]
        home.router.flash.full_below = "nothing"
        await asyncio.sleep(QUIET_SECONDS)
        await fault(home, "after")
        assert "frozen moments" not in home.status()["sensors"]
        assert len(kept(home)) == 2

    caplog.set_level(logging.ERROR)
    at_home(use)


def test_a_kernel_log_that_cannot_be_read_keeps_no_status_from_being_kept() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.kernel_log.refusal = OSError(5, "Input/output error")
        await fault(home)
        (moment,) = kept(home)
        assert moment["kernel_log"] == ["the kernel's log cannot be read: Input/output error"]
        assert moment["status"]["devices"]

    at_home(use)
