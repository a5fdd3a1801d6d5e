# SPDX-License-Identifier: GPL-2.0-or-later
"""When flowguard stands by for the firewall, and who else offloads."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from flowguard.core.events import Event, StandbyChanged, TablesLost
from flowguard.kernel.nftables.names import FIREWALL_TABLE
from flowguard.kernel.nftables.ruleset import ForeignFlowtable
from flowguard.sensors.firewall import (
    OWN_OFFLOADING,
    STOPPED,
    FirewallSensor,
    Standby,
    TablesSensor,
)
from flowguard.sensors.supervise import Supervision
from tests import virtual_time
from tests.sensors.machine import Ruleset
from tests.virtual_time import now

FIREWALLS = ForeignFlowtable(FIREWALL_TABLE, True, ("lan1", "wan"))
OTHER = ForeignFlowtable("mine", False, ("lan1",))


@dataclass
class Fw4:
    stopped: bool = False
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def is_stopped(self) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        return self.stopped

    async def started(self) -> None:
        await self.waiting.wait()


class Router:
    def __init__(self) -> None:
        self.tables = Ruleset()
        self.firewall = Fw4()
        self.standby = Standby(self.tables, self.firewall)

    def look(self, *, tables_lost: bool = False) -> bool:
        return asyncio.run(self.standby.look(tables_lost))


@pytest.fixture
def router() -> Router:
    return Router()


def test_nothing_is_in_the_way(router: Router) -> None:
    assert not router.look()
    assert router.standby.reason == ""


def test_a_firewall_that_was_stopped_with_our_tables_is_waited_for(router: Router) -> None:
    router.firewall.stopped = True
    assert router.look(tables_lost=True)
    assert router.standby.reason == STOPPED
    assert not router.look()
    router.firewall.stopped = False
    assert router.look()
    assert router.standby.reason == ""


def test_a_firewall_without_state_may_never_have_been_in_use(router: Router) -> None:
    router.firewall.stopped = True
    assert not router.look()
    assert router.standby.reason == ""
    assert router.firewall.asked == 0


def test_the_firewalls_own_offloading_comes_first(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    router.tables.foreign = (OTHER, FIREWALLS)
    assert router.look() and not router.look()
    assert router.standby.reason == OWN_OFFLOADING
    assert [record.getMessage() for record in caplog.records] == [OWN_OFFLOADING]
    router.tables.foreign = (OTHER,)
    assert router.look()
    assert router.standby.reason == ""


def test_competitors_that_cannot_be_seen_are_in_nobodys_way(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    router.tables.unreadable = OSError(errno.EPERM, "Operation not permitted")
    asyncio.run(router.standby.look_for_competitors())
    assert router.standby.competitors == ()
    assert caplog.text.count("Operation not permitted") == 1


def test_a_look_that_fails_ends_no_standby(router: Router) -> None:
    router.tables.foreign = (FIREWALLS,)
    assert router.look()
    router.tables.unreadable = OSError(errno.EINTR, "Interrupted system call")
    with pytest.raises(OSError, match="Interrupted"):
        router.look()
    assert router.standby.reason == OWN_OFFLOADING


def test_of_two_looks_at_the_same_time_one_finds_the_change(router: Router) -> None:
    """Each table that goes has us look."""
    router.firewall.stopped = True

    async def main() -> list[bool]:
        looks = (router.standby.look(True), router.standby.look(True))
        return list(await asyncio.gather(*looks))

    assert sorted(asyncio.run(main())) == [False, True]


def test_competitors_are_told_and_warned_of_once(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    router.tables.foreign = (OTHER, FIREWALLS)
    for _ in range(2):
        asyncio.run(router.standby.look_for_competitors())
    (line,) = router.standby.competitors
    assert line.startswith("table mine has a software flowtable of its own on lan1: ")
    assert [record.getMessage() for record in caplog.records] == [line]
    router.tables.foreign = ()
    asyncio.run(router.standby.look_for_competitors())
    assert router.standby.competitors == ()


def test_the_start_of_the_firewall_is_waited_for(router: Router) -> None:
    async def main() -> None:
        waiting = asyncio.create_task(router.standby.firewall_started())
        await asyncio.sleep(10)
        assert not waiting.done()
        router.firewall.waiting.set()
        await waiting

    virtual_time.run(main())


class Guarded(Router):
    """A router whose firewall's sensor is supervised; `happens` lets things happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.intact = True
        self.unreadable = False
        self.events: list[Event] = []
        self.sensor = FirewallSensor(self.standby, self._is_intact, self.events.append, now)

    def happens(self, *turns: Callable[[], None]) -> None:
        """One every ten seconds, each of them with a sign that tables were touched."""

        async def main() -> None:
            supervision = Supervision(now, lambda event: None)
            supervision.start(self.sensor)
            for turn in turns:
                await asyncio.sleep(10)
                turn()
                self.sensor.touched()
            await asyncio.sleep(10)
            await supervision.close()

        virtual_time.run(main())

    def lose(self) -> None:
        self.intact = False

    def stop(self) -> None:
        self.firewall.stopped, self.intact = True, False

    def start(self) -> None:
        self.firewall.stopped = False
        self.firewall.waiting.set()

    async def _is_intact(self) -> bool:
        await asyncio.sleep(0)
        if self.unreadable:
            raise OSError(errno.EAGAIN, "the ruleset changes faster than it can be read")
        return self.intact


def test_what_touches_nothing_of_ours_is_no_event() -> None:
    guarded = Guarded()
    guarded.happens(lambda: None, lambda: None)
    assert guarded.events == []
    assert guarded.tables.foreign_looks == 2  # One look for each piece of news.


def test_tables_that_are_lost_are_told() -> None:
    guarded = Guarded()
    guarded.happens(guarded.lose)
    assert guarded.events == [TablesLost(10)]


def test_a_stopped_firewall_is_told_and_so_is_its_start() -> None:
    guarded = Guarded()
    guarded.happens(guarded.stop, guarded.start)
    stopped, started = guarded.events
    assert stopped == StandbyChanged(10, STOPPED)
    assert started == StandbyChanged(20, "")


def test_the_firewalls_own_offloading_is_told_and_no_loss_on_top() -> None:
    guarded = Guarded()

    def offload() -> None:
        guarded.tables.foreign = (FIREWALLS,)
        guarded.lose()

    guarded.happens(offload, lambda: None)
    assert guarded.events == [StandbyChanged(10, OWN_OFFLOADING)]


def test_a_loss_that_could_not_be_seen_at_once_is_seen_in_the_end() -> None:
    guarded = Guarded()
    guarded.unreadable = True

    async def main() -> None:
        supervision = Supervision(now, lambda event: None)
        supervision.start(guarded.sensor)
        guarded.lose()
        guarded.sensor.touched()  # Nobody touches anything once more.
        await asyncio.sleep(5)
        assert guarded.events == []
        guarded.unreadable = False
        await asyncio.sleep(60)
        await supervision.close()

    virtual_time.run(main())
    assert [type(event) for event in guarded.events] == [TablesLost]


def test_what_others_touch_is_heard_until_the_watch_fails(router: Router) -> None:
    touched: list[str] = []

    async def main() -> None:
        sensor = TablesSensor(router.tables, lambda: touched.append("touched"))
        alive: list[str] = []
        task = asyncio.create_task(sensor.run(lambda: alive.append("alive")))
        await asyncio.sleep(1)
        assert (alive, touched) == (["alive"], [])
        router.tables.happens()
        assert touched == ["touched"]
        router.tables.break_down("Bad message")
        await asyncio.wait([task])
        error = task.exception()
        assert isinstance(error, OSError) and str(error) == "Bad message"
        assert router.tables.listening == []
        again = asyncio.create_task(sensor.run(lambda: alive.append("alive")))
        await asyncio.sleep(1)
        assert touched == ["touched"] * 2  # What happened meanwhile was not heard.
        again.cancel()

    virtual_time.run(main())
