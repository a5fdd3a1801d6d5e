# SPDX-License-Identifier: GPL-2.0-or-later
"""Both arms are looked at and listened to, over a connection table in memory."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from itertools import count, pairwise
from typing import Any

import pytest

from flowguard.core.arms.draw import ENDED_CHECKPOINTS, Draw, OutcomeKind, Outcomes
from flowguard.core.events import Converge, Event, FlowsJudged, SensorBack, SensorLost
from flowguard.core.model import Device, FlowTuple, Level
from flowguard.core.records import replace
from flowguard.core.tables.description import Plan
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.sensors.arms.census import ASSURED, SEEN_REPLY
from flowguard.sensors.arms.drawing import Drawing
from flowguard.sensors.arms.followed import CLOSE
from flowguard.sensors.arms.looks import (
    ANSWERED,
    FAILURES,
    LOOK_SECONDS,
    ArmsSensor,
    FlowSeen,
)
from flowguard.sensors.supervise import Supervision
from tests import virtual_time
from tests.sensors.machine import Parts
from tests.virtual_time import now

HARDWARE = SEEN_REPLY | ASSURED | OFFLOAD | HW_OFFLOAD
LEVELS = {"lan1": Level.HARDWARE, "wan": Level.HARDWARE}
REACHED = Converge(tuple(LEVELS.items()), Draw(), epoch=1)
DEVICES = [Device("lan1", 2), Device("wan", 3)]
PLAN = plan(DEVICES, LEVELS, OffloadSettings())
DRAWING = Drawing(PLAN.hardware)
NOTHING = Plan(None, None)
# So many looks, and every flow has been judged for how it ended.
LATEST = round(max(ENDED_CHECKPOINTS) / LOOK_SECONDS) + 2


def entry(number: int, *, control: bool = False, **changes: Any) -> Entry:
    """A connection of this arm, from the first port after its number that is."""
    for port in count(1000 + 100 * number):
        one = FlowTuple("tcp", "192.168.1.2", "203.0.113.1", port, 443)
        other = FlowTuple("tcp", "203.0.113.1", "203.0.113.2", 443, port)
        key, reply_key = (encode_tuple(kind, t)[1][4:] for kind, t in ((1, one), (2, other)))
        made = Entry(number, HARDWARE, 0, 6, 4, 400, 3, 300, True, None, None, key, reply_key)
        if DRAWING.is_control(DRAWING.hash_of(made)) is control:
            return made._replace(**changes)
    raise AssertionError


class Router:
    """A router with the sensor under test; `run` lets it live for a story."""

    def __init__(self, release: str = "6.12.0") -> None:
        self.parts = Parts(release)
        self.table = self.parts.connections
        self.parts.network.routes = {"192.168.1.2": "lan1", "203.0.113.1": "wan"}
        self.fed: list[Event] = []
        self.alive: list[float] = []
        self.sensor = ArmsSensor(self.parts.machine, self.fed.append)

    @property
    def judged(self) -> list[FlowsJudged]:
        return [event for event in self.fed if isinstance(event, FlowsJudged)]

    def begin(self, reached: Converge = REACHED, held: Plan = PLAN) -> None:
        self.sensor.begin(reached, held)

    def add(self, *numbers: int, **changes: Any) -> None:
        self.table.entries += [entry(number, **changes) for number in numbers]

    def carry(self, original: int = 2, reply: int = 2) -> None:
        """Packets of each direction of all connections."""
        self.table.entries = [
            e._replace(
                original_packets=e.original_packets + original,
                reply_packets=e.reply_packets + reply,
            )
            for e in self.table.entries
        ]

    async def pass_looks(self, number: int, original: int = 2, reply: int = 2) -> None:
        for _ in range(number):
            self.carry(original, reply)
            await asyncio.sleep(LOOK_SECONDS)

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        """What the sensor ends with by itself is raised."""

        async def main() -> None:
            task = asyncio.create_task(self.sensor.run(lambda: self.alive.append(now())))
            await asyncio.sleep(0.1)
            await story()
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error

        virtual_time.run(main())


@pytest.fixture
def router() -> Router:
    return Router()


def test_flows_are_followed_judged_and_told(router: Router) -> None:
    async def story() -> None:
        router.begin()
        await router.pass_looks(2)
        router.add(1, 2)
        await router.pass_looks(4)

    router.run(story)
    outcomes = [o for judged in router.judged for o in judged.outcomes]
    (answered,) = [o for o in outcomes if o.kind is OutcomeKind.ANSWERED and o.checkpoint == 10]
    assert (answered.counts.treated_good, answered.pair) == (2, ("lan1", "wan"))
    assert router.judged[-1].observed == 2
    assert router.sensor.counters_proven
    assert set(router.table.sweeps) == set(router.table.filters) == {ANSWERED}


def test_as_long_as_nothing_is_drawn_there_is_nothing_to_look_at(router: Router) -> None:
    async def story() -> None:
        await asyncio.sleep(20)
        router.begin(Converge((("lan1", Level.NONE),)), NOTHING)
        await asyncio.sleep(20)

    router.run(story)
    assert router.table.sweeps == []
    assert router.alive == [0, 5, 10, 15, 20, 25, 30, 35, 40]


def ends_heard(router: Router) -> list[Outcomes]:
    """What the sensor says of ends, after one flow ended between two looks."""

    async def story() -> None:
        router.begin()
        await router.pass_looks(2)
        router.add(1)
        await router.pass_looks(2)
        router.table.end(1, status=SEEN_REPLY | ASSURED, tcp_state=CLOSE)
        await router.pass_looks(LATEST)

    router.run(story)
    return [o for j in router.judged for o in j.outcomes if o.kind is OutcomeKind.ENDED]


def test_the_ends_of_flows_are_heard_between_two_looks(router: Router) -> None:
    assert sum(o.counts.treated_failed for o in ends_heard(router)) == 1


def test_since_6_18_the_ends_of_flows_tell_nothing() -> None:
    assert not ends_heard(Router("6.18.2"))


def test_a_listener_that_fails_ends_it_at_once_with_the_reason(router: Router) -> None:
    async def story() -> None:
        router.table.break_down("Connection refused")
        await asyncio.sleep(0.1)

    with pytest.raises(OSError, match="Connection refused"):
        router.run(story)
    assert router.table.listening == []


def test_without_a_listener_it_does_not_start(router: Router) -> None:
    async def story() -> None:
        pass

    router.table.refusal = OSError(errno.EPERM, "Operation not permitted")
    with pytest.raises(OSError, match="not permitted"):
        router.run(story)
    assert router.alive == []


def test_an_interrupted_look_takes_nobody_for_gone(router: Router) -> None:
    async def story() -> None:
        router.begin()
        await router.pass_looks(2)
        router.add(1, 2)
        await router.pass_looks(1)
        looked = len(router.alive)
        router.table.interrupt(1)
        await router.pass_looks(1)
        assert len(router.alive) == looked
        await router.pass_looks(3)

    router.run(story)
    outcomes = [o for j in router.judged for o in j.outcomes if o.checkpoint == 10]
    assert sum(o.counts.treated_good for o in outcomes if o.kind is OutcomeKind.ANSWERED) == 2


def test_after_an_interrupted_look_the_next_draw_begins_with_a_clean_slate(router: Router) -> None:
    async def story() -> None:
        router.begin()
        await router.pass_looks(2)
        router.add(1, 2)
        await router.pass_looks(1)
        router.table.interrupt(1)
        await router.pass_looks(1)
        router.begin(replace(REACHED, epoch=2))
        await router.pass_looks(1)  # This one finds all that were there before.
        router.add(3)
        await router.pass_looks(4)

    router.run(story)
    births = [b for judged in router.judged for b in judged.births if b.epoch == 2]
    assert sum(b.treated + b.control for b in births) == 1


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOBUFS, "No buffer"), MalformedMessage("odd"), ZeroDivisionError()]
)
def test_a_few_looks_in_a_row_that_fail_end_it(router: Router, error: Exception) -> None:
    async def story() -> None:
        router.begin()
        for _ in range(2):
            router.table.failures = [error] * (FAILURES - 1)
            await router.pass_looks(FAILURES)
        router.table.failures = [error] * FAILURES
        await router.pass_looks(FAILURES)

    with pytest.raises(type(error)):
        router.run(story)
    # The first two times it recovered.
    assert len(router.alive) == 3


def test_looks_that_are_always_interrupted_end_it_in_words(router: Router) -> None:
    async def story() -> None:
        router.begin()
        router.table.interrupt(FAILURES)
        await router.pass_looks(FAILURES)

    with pytest.raises(OSError, match="faster than it can be read"):
        router.run(story)


def test_supervised_it_comes_back_with_what_it_knew(router: Router) -> None:
    async def main() -> None:
        supervision = Supervision(now, router.fed.append)
        supervision.start(router.sensor)
        await asyncio.sleep(0.1)
        router.begin()
        await router.pass_looks(2)
        router.add(1)
        await router.pass_looks(2)
        (before,) = await router.sensor.flows(1)
        router.table.break_down("Connection refused")
        await asyncio.sleep(0.1)
        assert supervision.health == {"observation": "not available: Connection refused"}
        await router.pass_looks(2)
        assert supervision.health == {"observation": "ok"}
        (after,) = await router.sensor.flows(1)
        assert after.born == before.born is not None
        await supervision.close()

    virtual_time.run(main())
    told = [type(event) for event in router.fed if isinstance(event, SensorLost | SensorBack)]
    assert told == [SensorLost, SensorBack]


def test_flows_of_before_are_seen_and_not_followed(router: Router) -> None:
    async def story() -> None:
        router.add(1)
        router.begin()
        await router.pass_looks(8)

    router.run(story)
    assert not any(judged.outcomes or judged.observed for judged in router.judged)


def test_of_very_many_flows_one_in_so_many_is_followed(router: Router) -> None:
    async def story() -> None:
        router.begin(replace(REACHED, draw=Draw(observe_share=4)))
        await router.pass_looks(2)
        router.add(*range(300))
        await router.pass_looks(2)

    router.run(story)
    assert 50 < router.judged[-1].observed < 100


def test_a_table_that_takes_long_to_read_is_read_less_often(router: Router) -> None:
    router.table.seconds = 0.5

    async def story() -> None:
        router.begin()
        await asyncio.sleep(60)

    router.run(story)
    starts = [one - router.table.seconds for one in router.alive[1:]]
    # Ten seconds of rest, and then the next beat.
    assert [later - sooner for sooner, later in pairwise(starts)] == [15] * (len(starts) - 1)


def test_stalled_flows_and_all_flows_for_people(router: Router) -> None:
    seen: list[tuple[FlowSeen, ...]] = []

    async def story() -> None:
        router.begin()
        await router.pass_looks(2)
        router.add(1)
        await router.pass_looks(3, original=3, reply=0)
        router.add(2, control=True, status=OFFLOAD | ASSURED, original_bytes=9000)
        router.add(3, protocol=47, status=ASSURED)
        seen.append(await router.sensor.flows(3))
        seen.append(await router.sensor.flows(1))
        assert [s.flow.original.source_port for s in router.sensor.stalled()] == [1100]

    router.run(story)
    stalled, control, plain = seen[0]
    assert stalled.stalled_since is not None and stalled.born is not None
    assert (stalled.level, stalled.arm) == (Level.HARDWARE, "treated")
    assert (control.level, control.arm, control.bytes) == (Level.SOFTWARE, "control", (9000, 300))
    assert (plain.level, plain.arm) == (Level.NONE, None)
    assert seen[1] == (stalled,)
