# SPDX-License-Identifier: GPL-2.0-or-later
"""What is shown is what the kernel holds, with what is wrong and what would mend it."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Any

import pytest

from flowguard.core.events import FaultSeen, SensorLost, StandbyChanged
from flowguard.core.model import Attribution, Decision, Fault, FaultClass, Level
from flowguard.core.records import replace
from flowguard.core.requests import ForgetAsked, WantedChanged
from flowguard.kernel.conntrack import HW_OFFLOAD
from flowguard.kernel.nftables.changes import Change, CreateTable, TryFlowtable
from flowguard.kernel.nftables.names import FIREWALL_TABLE
from flowguard.kernel.nftables.ruleset import ForeignFlowtable, TablesState
from flowguard.platform.configuration.loading import Loaded
from flowguard.platform.configuration.sections import Problem
from flowguard.sensors.engine_table import ENGINE_RECHECK
from flowguard.sensors.firewall import OWN_OFFLOADING, STOPPED
from flowguard.sensors.flow_counts import COUNTING
from tests.actuators.router import LAN, WAN, Router, refused
from tests.service.composed import CONFIGURED, Home, at_home, memory
from tests.virtual_time import now

HARDWARE, SOFTWARE, NONE = Level.HARDWARE, Level.SOFTWARE, Level.NONE
NOTHING = TablesState(None, None)


class Listener:
    """A hook, or a bus."""

    def __init__(self, home: Home) -> None:
        self.moves: list[Decision] = []
        self.dead: list[str] = []
        home.service.telling.add("listener", self)

    def moved(self, decision: Decision) -> None:
        self.moves.append(decision)

    def fault_seen(self, fault: Fault) -> None:
        pass

    def power_cycle_needed(self, device: str, evidence: str) -> None:
        self.dead.append(device)

    def took(self) -> list[tuple[str, Level, Level]]:
        """What was heard since it was asked last."""
        moves, self.moves = self.moves, []
        return sorted((d.device, d.before, d.after) for d in moves)


def no_flowtables(change: Change) -> None:
    """A kernel without nft_flow_offload."""
    if isinstance(change, CreateTable | TryFlowtable):
        raise refused(change, errno.ENOENT)


def one_at_a_time(change: Change) -> None:
    """A driver that takes part in trials only."""
    if isinstance(change, CreateTable):
        raise refused(change, errno.EOPNOTSUPP)


def of_each(status: dict[str, Any], key: str) -> list[Any]:
    return [device[key] for device in status["devices"]]


@pytest.mark.parametrize(
    ("refuse", "allowed"), [(no_flowtables, SOFTWARE), (one_at_a_time, HARDWARE)]
)
def test_a_kernel_that_refuses_every_flowtable_has_none(
    refuse: Any, allowed: Level, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()
    router.ruleset.refuse = refuse
    heard: list[Listener] = []

    async def use(home: Home) -> None:
        heard.append(Listener(home))
        await asyncio.sleep(30)
        status = home.status()
        assert router.ruleset.state == NOTHING
        assert (status["level"], status["wanted"]) == (NONE, HARDWARE)
        assert of_each(status, "level") == [NONE, NONE]
        assert of_each(status, "allowed") == [allowed, allowed]
        assert status["state"] != "steady"
        assert "the kernel refused the flowtables" in status["reason"]
        (problem,) = [p for p in status["problems"] if "the kernel refused" in p]
        assert "kmod-nft-offload" in problem
        assert all(decision["reached"] is None for decision in status["decisions"])
        assert not heard[0].moves
        # And when it is there, it is used.
        router.ruleset.refuse = lambda change: None
        await asyncio.sleep(600)
        status = home.status()
        assert status["level"] is not NONE and status["problems"] == []
        assert {d.after for d in heard[0].moves} == {status["level"]}
        assert any(decision["reached"] for decision in status["decisions"])

    at_home(use, router=router)


def test_a_step_is_shown_as_reached_when_the_kernel_holds_it() -> None:
    async def use(home: Home) -> None:
        listener = Listener(home)
        await home.settled()
        listener.took()
        home.router.ruleset.works.clear()
        fault = Fault("r", FaultClass.TX_TIMEOUT, Attribution.DRIVER, WAN, None, "line")
        home.service.feed(FaultSeen(now(), fault))
        await asyncio.sleep(5)
        status = home.status()
        assert of_each(status, "level") == [HARDWARE, HARDWARE]
        assert of_each(status, "allowed") == [HARDWARE, SOFTWARE]
        assert listener.took() == []
        home.router.ruleset.works.set()
        await home.settled()
        assert (WAN, HARDWARE, SOFTWARE) in listener.took()
        assert of_each(home.status(), "level") == [HARDWARE, SOFTWARE]

    at_home(use)


def test_what_needs_a_power_cycle_is_in_the_status_and_told() -> None:
    async def use(home: Home) -> None:
        listener = Listener(home)
        await home.settled()
        line = "labdriver lab: warm reset failed"
        found = Fault("r", FaultClass.DMA_OR_MEMORY, Attribution.DRIVER, WAN, None, line)
        home.service.feed(FaultSeen(now(), replace(found, power_cycle=True)))
        await home.settled()
        status = home.status()
        assert of_each(status, "needs_power_cycle") == [False, True]
        assert "needs a power cycle" in status["reason"]
        assert listener.dead == [WAN]

    at_home(use)


def test_a_kernel_that_drops_what_is_in_software_has_hardware_or_nothing() -> None:
    router = Router()
    router.machine = replace(router.machine, release="6.18.48")
    router.flash.texts["/etc/openwrt_release"] = "DISTRIB_ID='OpenWrt'"

    async def use(home: Home) -> None:
        await home.settled()
        assert of_each(home.status(), "level") == [HARDWARE, HARDWARE]
        assert router.software is None
        assert any("connections in software are dropped" in p for p in home.status()["problems"])
        home.router.flows.offload(3)
        fault = Fault("r", FaultClass.TX_TIMEOUT, Attribution.DRIVER, None, "labdriver", "line")
        home.service.feed(FaultSeen(now(), fault))
        await asyncio.sleep(60)
        assert of_each(home.status(), "level") == [NONE, NONE]
        assert "dropped" in home.status()["reason"]
        assert router.ruleset.state == NOTHING
        assert not any(entry.status & HW_OFFLOAD for entry in router.flows.entries)

    at_home(use, router=router)


def test_an_eye_that_must_not_look_is_told_and_asks_nothing() -> None:
    router = Router()
    router.engines.entries = []

    async def use(home: Home) -> None:
        await home.settled()
        home.router.flows.offload(3)
        await asyncio.sleep(60)
        assert home.status()["sensors"]["engine"] == "ok"
        looks = router.engines.sweeps
        assert looks and not memory(router)["looking"]
        found = Fault("r", FaultClass.KERNEL_OOPS, Attribution.OFFLOAD, None, None, "Oops: 17")
        home.service.feed(FaultSeen(now(), replace(found, because="show", by_look=True)))
        await asyncio.sleep(60)
        assert "Oops: 17 (show)" in home.status()["sensors"]["engine"]
        assert home.status()["level"] is HARDWARE
        assert router.engines.sweeps == looks
        assert memory(router)["shut_eye"]["kernel"] == router.machine.release
        home.service.feed(ForgetAsked(now(), None))
        await asyncio.sleep(ENGINE_RECHECK + 60)
        assert home.status()["sensors"]["engine"] == "ok"
        assert router.engines.sweeps > looks

    at_home(use, router=router)


def test_standing_by_is_told_and_so_is_the_way_back() -> None:
    async def use(home: Home) -> None:
        listener = Listener(home)
        await home.settled()
        listener.took()
        home.service.feed(StandbyChanged(now(), STOPPED))
        await home.settled()
        assert listener.took() == [(LAN, HARDWARE, NONE), (WAN, HARDWARE, NONE)]
        assert home.router.ruleset.state == NOTHING
        assert STOPPED in home.status()["problems"]
        home.service.feed(StandbyChanged(now(), ""))
        await home.settled()
        assert listener.took() == [(LAN, NONE, HARDWARE), (WAN, NONE, HARDWARE)]
        assert home.status()["problems"] == []

    at_home(use)


def test_the_firewalls_own_offloading_is_stood_by_for_from_its_first_table_on() -> None:
    async def use(home: Home) -> None:
        listener = Listener(home)
        await home.settled()
        listener.took()
        home.router.ruleset.foreign = (ForeignFlowtable(FIREWALL_TABLE, True, (LAN, WAN)),)
        home.router.ruleset.happens()
        await home.until(lambda: home.status()["level"] is NONE)
        assert listener.took() == [(LAN, HARDWARE, NONE), (WAN, HARDWARE, NONE)]
        assert home.status()["problems"] == [OWN_OFFLOADING]
        home.router.ruleset.foreign = ()
        home.router.ruleset.happens()
        await home.until(lambda: home.status()["level"] is HARDWARE)
        assert listener.took() == [(LAN, NONE, HARDWARE), (WAN, NONE, HARDWARE)]

    at_home(use)


def test_a_lost_eye_is_shown_and_costs_hardware() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.kernel_log.refusal = OSError(errno.ENOENT, "No such file", "/dev/kmsg")
        home.router.kernel_log.break_down("gone")
        await asyncio.sleep(0.1)
        assert home.status()["sensors"]["kmsg"].startswith("not available")
        await asyncio.sleep(60)
        status = home.status()
        assert status["level"] is SOFTWARE and "kmsg" in status["reason"]
        home.router.kernel_log.refusal = None
        await asyncio.sleep(200)
        status = home.status()
        assert status["sensors"]["kmsg"] == "ok" and status["level"] is HARDWARE

    at_home(use)


def test_a_status_walks_over_no_connection() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.flows.offload(500)
        sweeps = len(home.router.flows.sweeps)
        for _ in range(3):
            await home.daemon.api.call("status", {})
        assert len(home.router.flows.sweeps) == sweeps

    at_home(use)


def test_what_could_not_be_drained_is_a_problem() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.flows.offload(3)
        home.router.flows.leave_after = None
        home.service.feed(WantedChanged(now(), SOFTWARE))
        await asyncio.sleep(CONFIGURED.drain_limit + 2)
        status = home.status()
        assert status["parked"] == [LAN, WAN] and status["level"] is SOFTWARE
        assert any("could not be drained" in problem for problem in status["problems"])

    at_home(use)


def carry(router: Router, size: int) -> None:
    router.flows.entries = [
        entry._replace(reply_bytes=entry.reply_bytes + size) for entry in router.flows.entries
    ]


@pytest.mark.parametrize("share", [0, 16])
def test_bytes_are_told_by_path_and_a_restart_keeps_them(share: int) -> None:
    router = Router()
    configured = replace(CONFIGURED, control_share=share)

    async def first(home: Home) -> None:
        await home.settled()
        await asyncio.sleep(20)
        router.flows.offload(2)
        for _ in range(20):
            carry(router, 1_000_000)
            await asyncio.sleep(10)
        counted = home.status()["bytes"]
        assert 38_000_000 <= counted["hardware"]["total"] <= 40_001_400
        assert counted["hardware"]["rate"] == pytest.approx(200_000, rel=0.1)
        assert (counted["software"], counted["none"]) == ({"total": 0, "rate": 0.0},) * 2
        await asyncio.sleep(20)

    async def second(home: Home) -> None:
        await asyncio.sleep(20)
        assert home.status()["bytes"]["hardware"]["total"] == 40_001_400
        carry(router, 5)
        await asyncio.sleep(20)
        assert home.status()["bytes"]["hardware"]["total"] == 40_001_410

    at_home(first, router=router, configuration=configured)
    at_home(second, router=router, configuration=configured)


def test_bytes_that_the_kernel_does_not_count_are_told_so() -> None:
    async def use(home: Home) -> None:
        await asyncio.sleep(20)
        assert home.status()["bytes"] is not None
        home.router.timeouts.set(COUNTING, 0)
        await asyncio.sleep(20)
        assert home.status()["bytes"] is None
        assert "nf_conntrack_acct=0" in home.status()["sensors"]["bytes"]

    at_home(use)


# --- problems ----------------------------------------------------------------------------


def test_a_reload_forgets_only_the_problems_of_what_it_reads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    router = Router()
    router.flash.texts["/etc/flowguard/state.json"] = "}"

    async def use(home: Home) -> None:
        home.service.problems.found("deaths", ["flowguard died 5 times within an hour"])
        problem = Problem("/etc/config/flowguard", 3, "level 'x' is unknown")
        home.platform.loaded = Loaded(CONFIGURED, (problem,))
        for _ in range(2):
            await home.daemon.api.call("reload", {})
        configured, lost, died = home.status()["problems"]
        assert configured == str(problem)
        assert "state.json" in lost and "unreadable" in lost
        assert died == "flowguard died 5 times within an hour"
        assert caplog.text.count("is unknown") == 1
        home.platform.loaded = Loaded(CONFIGURED, ())
        await home.daemon.api.call("reload", {})
        assert home.status()["problems"] == [lost, died]
        assert "configuration: what was wrong has been mended" in caplog.text

    at_home(use, router=router)


def test_a_restart_tells_no_move() -> None:
    router = Router()

    async def first(home: Home) -> None:
        await home.settled()

    async def second(home: Home) -> None:
        listener = Listener(home)
        assert home.status()["level"] is HARDWARE
        await home.settled()
        await asyncio.sleep(20)
        assert listener.took() == []

    at_home(first, router=router)
    at_home(second, router=router)


def test_a_guard_that_was_never_there_is_shown_from_the_start_on() -> None:
    router = Router()
    router.kernel_log.refusal = OSError(errno.ENOENT, "No such file or directory", "/dev/kmsg")

    async def use(home: Home) -> None:
        await asyncio.sleep(100)
        assert home.status()["level"] is SOFTWARE
        assert home.status()["sensors"]["kmsg"] == (
            "not available: /dev/kmsg: No such file or directory"
        )
        home.service.feed(SensorLost(now(), "kmsg", "still"))
        assert home.status()["level"] is SOFTWARE

    at_home(use, router=router)
