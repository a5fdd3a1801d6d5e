# SPDX-License-Identifier: GPL-2.0-or-later
"""The newest plan wins, and what is told as reached is what the kernel holds by then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.actuators.approach import ConvergeError, Converger
from flowguard.actuators.tables import NewestPlan
from flowguard.core.events import Converged, ConvergeFailed, DrainProgress, Event
from flowguard.core.model import Level
from flowguard.core.tables.description import Plan
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.kernel.nftables.changes import Change
from flowguard.kernel.nftables.ordered import OrderedTables
from flowguard.kernel.nftables.ruleset import TablesState, wanted_state
from tests import virtual_time
from tests.actuators.router import LAN, WAN, Router, refused
from tests.virtual_time import now

HARDWARE, SOFTWARE = Level.HARDWARE, Level.SOFTWARE
NOTHING = TablesState(None, None)


class Lab:
    """`told` are the reports, each with the tables that the kernel held just then."""

    def __init__(self) -> None:
        self.router = Router()
        self.told: list[tuple[Event, TablesState]] = []
        tables = OrderedTables(self.router.ruleset, now)
        converger = Converger(self.router.machine, tables, "/run", self._tell, drain_limit=60)
        self.newest = NewestPlan(converger, self._tell, now)

    def _tell(self, event: Event) -> None:
        if not isinstance(event, DrainProgress):
            self.told.append((event, self.router.ruleset.state))

    def plan(self, level: Level) -> Plan:
        devices = list(self.router.network.devices.values())
        return plan(devices, {d.name: level for d in devices}, OffloadSettings())

    def start(self, level: Level) -> None:
        self.newest.start(self.plan(level))


def in_lab(use: Callable[[Lab], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20_000):
            await use(Lab())

    virtual_time.run(run())


def test_a_step_down_that_overtakes_a_step_up_ends_on_the_lower_level() -> None:
    async def use(lab: Lab) -> None:
        ruleset = lab.router.ruleset
        ruleset.works.clear()
        lab.start(HARDWARE)
        await asyncio.sleep(1)
        assert len(ruleset.begun) == 1  # The driver is being bound.
        lab.start(SOFTWARE)
        await asyncio.sleep(100)
        assert not lab.told, "nobody knows yet what the kernel will make of it"
        ruleset.works.set()
        await lab.newest.settled()
        ((event, state),) = lab.told
        assert isinstance(event, Converged)
        assert dict(event.held or ()) == {LAN: SOFTWARE, WAN: SOFTWARE}
        assert state == wanted_state(lab.plan(SOFTWARE))
        await asyncio.sleep(1000)
        assert ruleset.state == wanted_state(lab.plan(SOFTWARE))

    in_lab(use)


@given(
    st.lists(
        st.tuples(st.sampled_from(Level), st.floats(0, 3), st.booleans()), min_size=1, max_size=6
    )
)
def test_the_last_of_many_plans_is_reached_and_told_truly(
    steps: list[tuple[Level, float, bool]],
) -> None:
    """Of each: the level, how long until the next one, and whether the kernel works meanwhile."""

    async def use(lab: Lab) -> None:
        for level, seconds, works in steps:
            (lab.router.ruleset.works.set if works else lab.router.ruleset.works.clear)()
            lab.start(level)
            await asyncio.sleep(seconds)
        lab.router.ruleset.works.set()
        await lab.newest.settled()
        last = wanted_state(lab.plan(steps[-1][0]))
        assert lab.router.ruleset.state == last
        for event, state in lab.told:
            assert isinstance(event, Converged)
            hardware = HARDWARE in dict(event.held or ()).values()
            assert hardware == bool(state.hardware and state.hardware.rules)
        assert lab.told[-1][1] == last

    in_lab(use)


def test_a_refusal_is_told_with_what_the_kernel_holds() -> None:
    async def use(lab: Lab) -> None:
        lab.start(SOFTWARE)
        await lab.newest.settled()

        def refuse(change: Change) -> None:
            raise refused(change, 12)

        lab.router.ruleset.refuse = refuse
        lab.start(HARDWARE)
        await lab.newest.settled()
        event, _ = lab.told[-1]
        assert isinstance(event, ConvergeFailed)
        assert dict(event.held or ()) == {LAN: SOFTWARE, WAN: SOFTWARE}
        assert lab.newest.reached == lab.plan(SOFTWARE)

    in_lab(use)


def test_a_refusal_is_told_although_the_kernel_answers_with_nonsense() -> None:
    async def use(lab: Lab) -> None:
        def refuse(change: Change) -> None:
            lab.router.ruleset.unreadable = MalformedMessage("an attribute ends too soon")
            raise refused(change, 12)

        lab.router.ruleset.refuse = refuse
        lab.start(HARDWARE)
        await lab.newest.settled()
        ((event, _),) = lab.told
        assert isinstance(event, ConvergeFailed) and event.held is None

    in_lab(use)


def test_after_a_release_no_plan_is_followed_any_more() -> None:
    async def use(lab: Lab) -> None:
        lab.start(HARDWARE)
        await lab.newest.settled()
        lab.router.flows.offload(3)
        release = asyncio.create_task(lab.newest.release())
        for _ in range(20):  # Throughout the drain somebody asks for tables.
            lab.start(HARDWARE)
            await asyncio.sleep(1)
        assert await release == ()
        lab.start(SOFTWARE)
        await asyncio.sleep(100)
        assert lab.router.ruleset.state == NOTHING
        event, state = lab.told[-1]
        assert isinstance(event, Converged) and event.held == () and state == NOTHING

    in_lab(use)


def test_after_a_release_that_was_refused_plans_are_followed_as_before() -> None:
    async def use(lab: Lab) -> None:
        lab.start(HARDWARE)
        await lab.newest.settled()

        def refuse(change: Change) -> None:
            raise refused(change, 12)

        lab.router.ruleset.refuse = refuse
        with pytest.raises(ConvergeError):
            await lab.newest.release()
        lab.router.ruleset.refuse = lambda change: None
        lab.start(SOFTWARE)
        await lab.newest.settled()
        assert lab.router.ruleset.state == wanted_state(lab.plan(SOFTWARE))

    in_lab(use)


def test_an_error_of_our_own_is_told_as_a_refusal() -> None:
    async def use(lab: Lab) -> None:
        def fail(change: Change) -> None:
            raise ZeroDivisionError("boom")

        lab.router.ruleset.refuse = fail
        lab.start(HARDWARE)
        await lab.newest.settled()
        event, _ = lab.told[-1]
        assert isinstance(event, ConvergeFailed) and "boom" in event.error

    in_lab(use)
