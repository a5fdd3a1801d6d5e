# SPDX-License-Identifier: GPL-2.0-or-later
"""From tables to other tables: what leaves hardware is drained first, or parked."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable

import pytest

from flowguard.actuators.approach import PARKED_SECONDS, ConvergeError, Converger
from flowguard.actuators.steps import levels_in
from flowguard.core.arms.draw import Draw
from flowguard.core.events import DrainProgress
from flowguard.core.model import Level
from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE, Plan
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel.nftables.changes import Change, CreateTable, DeleteTable, RemoveDevices
from flowguard.kernel.nftables.ordered import OrderedTables
from flowguard.kernel.nftables.ruleset import TablesState, seed_of, wanted_state
from tests import virtual_time
from tests.actuators.router import LAN, WAN, Router, refused
from tests.virtual_time import now

HARDWARE, SOFTWARE = Level.HARDWARE, Level.SOFTWARE
LIMIT, FLOW_TIMEOUT = 60.0, 10
IN_SOFTWARE = ((LAN, SOFTWARE), (WAN, SOFTWARE))
IN_HARDWARE = ((LAN, HARDWARE), (WAN, HARDWARE))


class Lab:
    def __init__(self) -> None:
        self.router = Router()
        self.progress: list[DrainProgress] = []
        self.safe: list[float] = []
        self.flash_seconds = 0.0
        self.converger = Converger(
            self.router.machine,
            OrderedTables(self.router.ruleset, now),
            "/run",
            self.progress.append,
            self._is_safe,
            flow_timeout=FLOW_TIMEOUT,
            drain_limit=LIMIT,
        )

    async def _is_safe(self) -> None:
        await asyncio.sleep(self.flash_seconds)
        self.safe.append(now())

    def plan(self, level: Level, **others: Level) -> Plan:
        devices = list(self.router.network.devices.values())
        return plan(devices, {d.name: level for d in devices} | others, OffloadSettings())

    async def up(self, flows: int = 3) -> None:
        """All on hardware, with so many flows in it."""
        reached = await self.converger.converge(self.plan(HARDWARE))
        assert reached.held == IN_HARDWARE and not reached.parked
        self.router.flows.offload(flows)


def in_lab(use: Callable[[Lab], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20_000):
            await use(Lab())

    virtual_time.run(run())


def test_on_the_way_down_hardware_is_empty_before_its_table_goes() -> None:
    async def use(lab: Lab) -> None:
        router = lab.router
        await lab.up()
        assert router.timeouts.flow_timeouts == [FLOW_TIMEOUT] * 2
        flows_when_deleted: list[bool] = []

        def watch(change: Change) -> None:
            if str(change) == "delete table flowguard":
                flows_when_deleted.append(any(e.status & (1 << 15) for e in router.flows.entries))

        router.ruleset.refuse = watch
        reached = await lab.converger.converge(lab.plan(SOFTWARE))
        assert (reached.held, reached.parked) == (IN_SOFTWARE, ())
        assert router.ruleset.state == wanted_state(lab.plan(SOFTWARE))
        assert flows_when_deleted == [False]
        assert lab.progress[0].flows == 3 and lab.progress[-1].flows == 0
        assert router.timeouts.flow_timeouts == [30, 30]

    in_lab(use)


def test_hardware_takes_no_new_flow_from_the_first_change_on() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()
        lab.router.flows.leave_after = None
        task = asyncio.create_task(lab.converger.converge(lab.plan(SOFTWARE)))
        await asyncio.sleep(0.2)
        hardware = lab.router.hardware
        assert hardware and not hardware.rules and hardware.devices == (LAN, WAN)
        assert lab.router.software == wanted_state(lab.plan(SOFTWARE)).software
        assert lab.router.timeouts.flow_timeouts == [0, 0]
        task.cancel()
        await asyncio.wait([task])
        assert lab.router.timeouts.flow_timeouts == [FLOW_TIMEOUT] * 2

    in_lab(use)


async def parked(lab: Lab) -> None:
    """A driver that forgets flows, drained in vain."""
    await lab.up()
    lab.router.flows.leave_after = None
    before = now()
    reached = await lab.converger.converge(lab.plan(SOFTWARE))
    assert LIMIT <= now() - before < LIMIT + 1
    assert reached.parked == (LAN, WAN)
    assert reached.held == IN_SOFTWARE


def test_a_drain_that_never_ends_is_parked_and_the_rest_goes_on() -> None:
    async def use(lab: Lab) -> None:
        await parked(lab)
        hardware = lab.router.hardware
        assert hardware and hardware.devices == (LAN, WAN) and not hardware.rules
        assert lab.router.software == wanted_state(lab.plan(SOFTWARE)).software
        assert lab.router.timeouts.flow_timeouts == [FLOW_TIMEOUT] * 2

    in_lab(use)


def test_what_is_parked_is_left_alone_for_a_while_and_then_drained_again() -> None:
    async def use(lab: Lab) -> None:
        await parked(lab)
        zeroed = lab.router.timeouts.zeroed
        # A bridge does not tell which of its ports a flow will pass: none takes any.
        one_up = lab.plan(SOFTWARE, lan1=HARDWARE)
        for target in (lab.plan(SOFTWARE), lab.plan(Level.NONE), one_up, lab.plan(SOFTWARE)):
            before = now()
            reached = await lab.converger.converge(target)
            assert reached.parked == (LAN, WAN) and now() - before < 1
            assert HARDWARE not in dict(reached.held).values()
        hardware = lab.router.hardware
        assert hardware and not hardware.rules and lab.router.timeouts.zeroed == zeroed
        await asyncio.sleep(PARKED_SECONDS)
        assert (await lab.converger.converge(lab.plan(SOFTWARE))).parked == (LAN, WAN)
        assert lab.router.timeouts.zeroed > zeroed
        lab.router.flows.leave_after = 5.0
        await asyncio.sleep(PARKED_SECONDS)
        assert (await lab.converger.converge(lab.plan(SOFTWARE))).parked == ()
        assert lab.router.hardware is None
        assert lab.router.timeouts.flow_timeouts == [30, 30]

    in_lab(use)


def test_back_to_hardware_what_was_parked_is_taken_into_use_after_its_time() -> None:
    async def use(lab: Lab) -> None:
        await parked(lab)
        await asyncio.sleep(PARKED_SECONDS)
        lab.router.flows.leave_after = 5.0
        reached = await lab.converger.converge(lab.plan(HARDWARE))
        assert (reached.held, reached.parked) == (IN_HARDWARE, ())
        assert lab.router.ruleset.state == wanted_state(lab.plan(HARDWARE))

    in_lab(use)


def test_a_release_takes_away_by_force_what_cannot_be_drained() -> None:
    async def use(lab: Lab) -> None:
        await parked(lab)
        before = now()
        left = await lab.converger.release(40)
        assert 40 <= now() - before < 41
        assert len(left) == 3
        assert (lab.router.hardware, lab.router.software) == (None, None)
        assert lab.router.timeouts.flow_timeouts == [30, 30]
        assert not lab.router.flash.texts

    in_lab(use)


def test_after_an_oops_even_a_release_unbinds_nothing() -> None:
    async def use(lab: Lab) -> None:
        await parked(lab)
        lab.router.timeouts.values["kernel/tainted"] = 1 << 7
        assert len(await lab.converger.release(5)) == 3
        hardware = lab.router.hardware
        assert hardware and hardware.devices == (LAN, WAN) and not hardware.rules
        assert lab.router.software is None
        assert lab.router.timeouts.flow_timeouts == [30, 30]

    in_lab(use)


def test_a_refused_release_leaves_the_timeouts_as_they_were() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()

        def refuse(change: Change) -> None:
            if str(change).startswith("delete table"):
                raise refused(change, errno.EOPNOTSUPP)

        lab.router.ruleset.refuse = refuse
        with pytest.raises(ConvergeError):
            await lab.converger.release()
        assert lab.router.timeouts.flow_timeouts == [30, 30]

    in_lab(use)


def test_the_way_up_waits_for_flash_and_the_way_down_does_not() -> None:
    async def use(lab: Lab) -> None:
        lab.flash_seconds = 100.0
        commits: list[float] = []
        lab.router.ruleset.refuse = lambda change: commits.append(now())
        await lab.up()
        assert lab.safe == [100.0] and min(commits) == 100.0
        await lab.converger.converge(lab.plan(SOFTWARE))
        await lab.converger.converge(lab.plan(Level.NONE))
        assert lab.safe == [100.0]

    in_lab(use)


def test_nothing_is_written_where_the_kernel_has_it_already() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()
        made = len(lab.router.ruleset.made)
        await lab.up()
        assert len(lab.router.ruleset.made) == made
        assert await lab.converger.intact()
        lab.router.ruleset.state = wanted_state(lab.plan(SOFTWARE))
        assert not await lab.converger.intact()

    in_lab(use)


def test_a_device_that_vanishes_is_nobody_elses_doing() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()
        del lab.router.network.devices[WAN]
        # Newer kernels keep its name, older ones do not.
        assert await lab.converger.intact()
        for table in (HARDWARE_TABLE, SOFTWARE_TABLE):
            await lab.router.ruleset.commit([RemoveDevices(table, 0, (WAN,))])
        assert await lab.converger.intact()

    in_lab(use)


def test_a_refusal_of_one_device_names_it() -> None:
    async def use(lab: Lab) -> None:
        def refuse(change: Change) -> None:
            hardware = isinstance(change, CreateTable) and change.table.hardware
            if hardware or str(change) == f"hardware flowtable on {WAN}":
                raise refused(change, errno.EOPNOTSUPP)

        lab.router.ruleset.refuse = refuse
        with pytest.raises(ConvergeError, match="wan") as caught:
            await lab.converger.converge(lab.plan(HARDWARE))
        assert caught.value.device == WAN
        assert levels_in(await lab.converger.found()) == ()

    in_lab(use)


def test_what_a_refusal_left_there_is_missed_when_somebody_takes_it() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()

        def refuse(change: Change) -> None:
            raise refused(change, errno.EOPNOTSUPP)

        lab.router.ruleset.refuse = refuse
        with pytest.raises(ConvergeError):
            await lab.converger.converge(lab.plan(SOFTWARE))
        assert await lab.converger.intact()
        lab.router.ruleset.state = TablesState(None, None)
        assert not await lab.converger.intact()

    in_lab(use)


def test_what_changes_while_we_write_is_looked_at_again() -> None:
    async def use(lab: Lab) -> None:
        def vanish(change: Change) -> None:
            if lab.router.network.devices.pop(WAN, None):
                raise refused(change, errno.ENOENT)

        lab.router.ruleset.refuse = vanish
        reached = await lab.converger.converge(lab.plan(HARDWARE))
        assert reached.held == ((LAN, HARDWARE),)

    in_lab(use)


def test_flow_timeouts_of_a_daemon_that_was_killed_are_put_back() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()
        lab.router.flows.leave_after = None
        task = asyncio.create_task(lab.converger.converge(lab.plan(SOFTWARE)))
        await asyncio.sleep(1)
        texts = dict(lab.router.flash.texts)  # As the kill leaves them.
        task.cancel()
        await asyncio.wait([task])
        lab.router.flash.texts = texts
        lab.router.timeouts.values |= dict.fromkeys(lab.router.timeouts.values, 0)
        ordered = OrderedTables(lab.router.ruleset, now)
        Converger(lab.router.machine, ordered, "/run", lambda progress: None).recover()
        assert lab.router.timeouts.flow_timeouts == [30, 30]

    in_lab(use)


def test_hardware_is_left_although_the_level_below_is_refused() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()

        def refuse(change: Change) -> None:
            if isinstance(change, CreateTable):
                raise refused(change, errno.ENOMEM)

        lab.router.ruleset.refuse = refuse
        with pytest.raises(ConvergeError):
            await lab.converger.converge(lab.plan(SOFTWARE))
        hardware = lab.router.hardware
        assert hardware and not hardware.rules
        assert lab.progress[-1].flows == 0, "and it was drained"

    in_lab(use)


def test_a_drain_that_cannot_be_seen_lets_flows_leave_and_is_parked() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()
        lab.router.flows.always = OSError(errno.ENOMEM, "Cannot allocate memory")
        task = asyncio.create_task(lab.converger.converge(lab.plan(SOFTWARE)))
        await asyncio.sleep(LIMIT / 2)
        assert lab.router.timeouts.flow_timeouts == [0, 0]
        (told,) = lab.progress
        assert (told.flows, told.held) == (None, IN_SOFTWARE)
        assert (await task).parked == (LAN, WAN)
        assert lab.router.timeouts.flow_timeouts == [FLOW_TIMEOUT] * 2

    in_lab(use)


def test_a_drain_of_a_table_that_somebody_took_away_is_over() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()
        lab.router.flows.leave_after = None
        task = asyncio.create_task(lab.converger.converge(lab.plan(SOFTWARE)))
        await asyncio.sleep(5)
        lab.router.ruleset.state = TablesState(None, None)
        before = now()
        assert (await task).held == IN_SOFTWARE
        assert now() - before < 2

    in_lab(use)


def test_a_look_at_the_engine_that_never_comes_back_keeps_no_drain_from_its_end() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()
        engines = lab.router.engines
        engines.entries, engines.hangs = [], True
        before = now()
        reached = await lab.converger.converge(lab.plan(SOFTWARE))
        assert LIMIT <= now() - before < LIMIT + 2
        assert (reached.held, reached.parked) == (IN_SOFTWARE, (LAN, WAN))
        assert lab.router.timeouts.flow_timeouts == [FLOW_TIMEOUT] * 2

    in_lab(use)


def test_a_release_needs_no_sight_of_the_connections() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()
        lab.router.flows.always = OSError(errno.ENOMEM, "Cannot allocate memory")
        assert await lab.converger.release(40) == ()
        assert (lab.router.hardware, lab.router.software) == (None, None)
        assert lab.router.timeouts.flow_timeouts == [30, 30]

    in_lab(use)


def test_half_a_change_is_nobody_elses_doing() -> None:
    async def use(lab: Lab) -> None:
        await lab.up()

        def refuse(change: Change) -> None:
            if isinstance(change, DeleteTable):
                raise refused(change, errno.EOPNOTSUPP)

        lab.router.ruleset.refuse = refuse
        with pytest.raises(ConvergeError):
            await lab.converger.converge(lab.plan(SOFTWARE))
        hardware = lab.router.hardware
        assert hardware and not hardware.rules
        assert await lab.converger.intact()

    in_lab(use)


def test_the_seed_that_the_tables_draw_by_is_found_again() -> None:
    async def use(lab: Lab) -> None:
        assert seed_of(await lab.converger.found()) is None
        for level, seed in ((SOFTWARE, 0xFEDCBA98), (HARDWARE, 3)):
            devices = list(lab.router.network.devices.values())
            levels = {device.name: level for device in devices}
            await lab.converger.converge(plan(devices, levels, OffloadSettings(), Draw(seed=seed)))
            assert seed_of(await lab.converger.found()) == seed

    in_lab(use)
