# SPDX-License-Identifier: GPL-2.0-or-later
"""Both arms are looked at and listened to, over a connection table in memory."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowguard.core.arms.draw import ENDED_CHECKPOINTS, Draw, OutcomeKind, Outcomes
from flowguard.core.events import Converge, Event, FlowsJudged, SensorBack, SensorLost
from flowguard.core.model import FlowTuple, Level
from flowguard.core.records import replace
from flowguard.core.tables.plan import OffloadSettings
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry, Filter
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.sensors.arms.census import ASSURED, SEEN_REPLY
from flowguard.sensors.arms.followed import CLOSE
from flowguard.sensors.arms.looks import FAILURES, LOOK_SECONDS, ArmsSensor, FlowSeen
from flowguard.sensors.supervise import Supervision
from tests import virtual_time
from tests.sensors.machine import Parts
from tests.virtual_time import now

SETTINGS = OffloadSettings()
OBSERVE, CONTROL = SETTINGS.observe_mark, SETTINGS.control_mark
HARDWARE = SEEN_REPLY | ASSURED | OFFLOAD | HW_OFFLOAD
REACHED = Converge((("lan1", Level.HARDWARE),), Draw(), epoch=1)
# So many looks, and every flow has been judged for how it ended.
LATEST = round(max(ENDED_CHECKPOINTS) / LOOK_SECONDS) + 2


def entry(number: int, **changes: Any) -> Entry:
    one = FlowTuple("tcp", "192.168.1.2", "203.0.113.1", 1000 + number, 443)
    other = FlowTuple("tcp", "203.0.113.1", "203.0.113.2", 443, 1000 + number)
    key, reply_key = (encode_tuple(kind, t)[1][4:] for kind, t in ((1, one), (2, other)))
    made = Entry(number, HARDWARE, OBSERVE, 6, 4, 400, 3, 300, True, None, None, key, reply_key)
    return made._replace(**changes)


class Router:
    """A router with the sensor under test; `run` lets it live for a story."""

    def __init__(self, release: str = "6.12.0") -> None:
        self.parts = Parts(release)
        self.table = self.parts.connections
        self.parts.network.routes = {"192.168.1.2": "lan1", "203.0.113.1": "wan"}
        self.fed: list[Event] = []
        self.alive: list[float] = []
        self.sensor = ArmsSensor(self.parts.machine, self.fed.append, SETTINGS)

    @property
    def judged(self) -> list[FlowsJudged]:
        return [event for event in self.fed if isinstance(event, FlowsJudged)]

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
        router.sensor.begin(REACHED)
        await router.pass_looks(2)
        router.add(1, 2)
        await router.pass_looks(4)

    router.run(story)
    outcomes = [o for judged in router.judged for o in judged.outcomes]
    (answered,) = [o for o in outcomes if o.kind is OutcomeKind.ANSWERED and o.checkpoint == 10]
    assert (answered.counts.treated_good, answered.pair) == (2, ("lan1", "wan"))
    assert router.judged[-1].observed == 2
    assert router.sensor.counters_proven
    assert set(router.table.sweeps) == {Filter(mark=OBSERVE, mark_mask=OBSERVE)}


def test_as_long_as_nothing_is_drawn_there_is_nothing_to_look_at(router: Router) -> None:
    async def story() -> None:
        await asyncio.sleep(20)
        router.sensor.begin(Converge((("lan1", Level.NONE),)))
        await asyncio.sleep(20)

    router.run(story)
    assert router.table.sweeps == []
    assert router.alive == [0, 5, 10, 15, 20, 25, 30, 35, 40]


def ends_heard(router: Router) -> list[Outcomes]:
    """What the sensor says of ends, after one flow ended between two looks."""

    async def story() -> None:
        router.sensor.begin(REACHED)
        await router.pass_looks(2)
        router.add(1)
        await router.pass_looks(2)
        router.table.end(1, status=ASSURED, tcp_state=CLOSE)
        await router.pass_looks(LATEST)

    router.run(story)
    return [o for j in router.judged for o in j.outcomes if o.kind is OutcomeKind.ENDED]


def test_the_ends_of_flows_are_heard_between_two_looks(router: Router) -> None:
    assert sum(o.counts.treated_failed for o in ends_heard(router)) == 1


def test_since_6_18_the_ends_of_flows_tell_nothing() -> None:
    assert not ends_heard(Router("6.18.2"))


def test_another_mark_reaches_looks_and_events_at_once(router: Router) -> None:
    other = 0x4000

    async def story() -> None:
        router.sensor.begin(REACHED)
        await router.pass_looks(2)
        router.sensor.configure(replace(SETTINGS, observe_mark=other))
        assert router.table.filters[-1] == Filter(mark=other, mark_mask=other)
        assert len(router.table.listening) == 1
        router.sensor.begin(REACHED)
        await router.pass_looks(2)
        router.add(1, mark=other)
        router.add(2, mark=OBSERVE)
        await router.pass_looks(2)
        router.table.end(1, 2, status=ASSURED, tcp_state=CLOSE)
        await router.pass_looks(LATEST)

    router.run(story)
    ended = [o for j in router.judged for o in j.outcomes if o.kind is OutcomeKind.ENDED]
    assert sum(o.counts.treated_failed for o in ended) == 1
    assert router.table.sweeps[-1] == Filter(mark=other, mark_mask=other)


def test_another_mark_before_it_runs_is_the_one_that_it_listens_with(router: Router) -> None:
    async def story() -> None:
        pass

    router.sensor.configure(replace(SETTINGS, observe_mark=0x4000))
    assert router.table.filters == []
    router.run(story)
    assert router.table.filters == [Filter(mark=0x4000, mark_mask=0x4000)]
    assert router.table.listening == []


def test_a_listener_that_cannot_be_exchanged_ends_it_so_that_it_is_seen(router: Router) -> None:
    async def story() -> None:
        router.table.refusal = OSError(errno.EMFILE, "Too many open files")
        router.sensor.configure(SETTINGS)
        await asyncio.sleep(0.1)

    with pytest.raises(OSError, match="Too many open files"):
        router.run(story)
    assert router.table.listening == []


def test_a_reload_in_the_midst_of_a_look_makes_that_look_void(router: Router) -> None:
    reloaded: list[float] = []

    def reload() -> None:
        router.table.midway = lambda: None
        reloaded.append(now())
        router.fed.clear()
        router.sensor.configure(SETTINGS)

    async def story() -> None:
        router.sensor.begin(REACHED)
        await router.pass_looks(2)
        router.add(*range(250))
        await router.pass_looks(3)
        assert router.judged
        router.table.midway = reload
        await router.pass_looks(4)

    router.run(story)
    # The next one tells that nobody is observed any more.
    (judged,) = router.judged
    assert (judged.time, judged.observed) == (reloaded[0] + LOOK_SECONDS, 0)


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
        router.sensor.begin(REACHED)
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
        router.sensor.begin(REACHED)
        await router.pass_looks(2)
        router.add(1, 2)
        await router.pass_looks(1)
        router.table.interrupt(1)
        await router.pass_looks(1)
        router.sensor.begin(replace(REACHED, epoch=2))
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
        router.sensor.begin(REACHED)
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
        router.sensor.begin(REACHED)
        router.table.interrupt(FAILURES)
        await router.pass_looks(FAILURES)

    with pytest.raises(OSError, match="faster than it can be read"):
        router.run(story)


def test_supervised_it_comes_back_with_what_it_knew(router: Router) -> None:
    async def main() -> None:
        supervision = Supervision(now, router.fed.append)
        supervision.start(router.sensor)
        await asyncio.sleep(0.1)
        router.sensor.begin(REACHED)
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


def test_flows_that_are_judged_are_let_go(router: Router) -> None:
    async def story() -> None:
        router.add(1)  # There before the draw began, so nobody judges it.
        router.sensor.begin(REACHED)
        await router.pass_looks(3)

    router.run(story)
    assert router.table.cleared == [(1, OBSERVE)]
    assert router.table.entries[0].mark == 0


def test_marks_that_cannot_be_cleared_end_it_but_what_was_seen_is_told(router: Router) -> None:
    async def story() -> None:
        router.sensor.begin(REACHED)
        await router.pass_looks(2)
        router.add(1)
        await router.pass_looks(4)
        router.add(2, 3)
        router.table.mark_refusal = OSError(errno.EPERM, "Operation not permitted")
        router.sensor.begin(replace(REACHED, levels=(("wan", Level.HARDWARE),)))
        await router.pass_looks(8)

    with pytest.raises(OSError, match="not permitted"):
        router.run(story)
    assert router.judged[-1].time > 30


def test_stalled_flows_and_all_flows_for_people(router: Router) -> None:
    seen: list[tuple[FlowSeen, ...]] = []

    async def story() -> None:
        router.sensor.begin(REACHED)
        await router.pass_looks(2)
        router.add(1)
        await router.pass_looks(3, original=3, reply=0)
        router.add(2, mark=OBSERVE | CONTROL, status=OFFLOAD | ASSURED, original_bytes=9000)
        router.add(3, mark=0, status=ASSURED)
        seen.append(await router.sensor.flows(3))
        seen.append(await router.sensor.flows(1))
        assert [s.flow.original.source_port for s in router.sensor.stalled()] == [1001]

    router.run(story)
    stalled, control, plain = seen[0]
    assert stalled.stalled_since is not None and stalled.born is not None
    assert (stalled.level, stalled.arm) == (Level.HARDWARE, "treated")
    assert (control.level, control.arm, control.bytes) == (Level.SOFTWARE, "control", (9000, 300))
    assert (plain.level, plain.arm) == (Level.NONE, None)
    assert seen[1] == (stalled,)
