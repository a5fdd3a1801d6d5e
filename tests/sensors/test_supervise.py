# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs all the time is started anew, and its loss is told once; in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.events import Event, SensorBack, SensorLost
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.sensors.supervise import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    TURN_SECONDS,
    Sensor,
    Supervision,
)
from tests import virtual_time
from tests.virtual_time import VirtualTimeLoop, now

Life = Callable[[Callable[[], None]], Awaitable[None]]
PATIENCE = 30.0


@dataclass
class Eye:
    """A sensor; each run is the next of its lives, the last of them again and again."""

    lives: list[Life]
    name: str = "eye"
    patience: float | None = PATIENCE
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    async def run(self, alive: Callable[[], None]) -> None:
        life = self.lives[min(len(self.starts), len(self.lives) - 1)]
        self.starts.append(now())
        try:
            await life(alive)
        finally:
            self.ends.append(now())


@dataclass
class Told:
    """What the supervision feeds; `refusals` raise, one each."""

    events: list[Event] = field(default_factory=list)
    refusals: int = 0

    def __call__(self, event: Event) -> None:
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError("the policy failed")
        self.events.append(event)


async def watches(alive: Callable[[], None]) -> None:
    while True:
        alive()
        await asyncio.sleep(10)


async def listens(alive: Callable[[], None]) -> None:
    alive()
    await asyncio.Event().wait()


async def hangs(alive: Callable[[], None]) -> None:
    await asyncio.Event().wait()


async def ends(alive: Callable[[], None]) -> None:
    pass


def fails(error: BaseException, after: float = 0.0, *, sees: bool = False) -> Life:
    async def life(alive: Callable[[], None]) -> None:
        if sees:
            alive()
        await asyncio.sleep(after)
        raise error

    return life


def supervise(seconds: float, *eyes: Sensor, told: Told | None = None) -> tuple[Told, Supervision]:
    """What is told in so many seconds, and the supervision as it is then."""
    heard = told or Told()

    async def main() -> Supervision:
        supervision = Supervision(now, heard)
        for eye in eyes:
            supervision.start(eye)
        await asyncio.sleep(seconds)
        health = dict(supervision.health)
        await supervision.close()
        assert supervision.health == health
        return supervision

    return heard, virtual_time.run(main())


def test_one_that_works_is_ok_and_nothing_is_told() -> None:
    told, supervision = supervise(3600, Eye([watches]), Eye([listens], "ear", None))
    assert told.events == []
    assert supervision.health == {"eye": "ok", "ear": "ok"}


def test_before_its_first_sign_of_life_it_is_starting() -> None:
    _, supervision = supervise(PATIENCE / 2, Eye([hangs]))
    assert supervision.health == {"eye": "starting"}


def test_the_first_sign_of_life_is_no_return() -> None:
    told, _ = supervise(5, Eye([fails(OSError("broken")), watches]))
    assert told.events == [SensorLost(0, "eye", "broken"), SensorBack(FIRST_PAUSE, "eye")]
    assert supervise(5, Eye([watches]))[0].events == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(13, "Permission denied"), "Permission denied"),
        (FileNotFoundError(2, "No such file", "/dev/kmsg"), "/dev/kmsg: No such file"),
        (OSError("it ended"), "it ended"),
        (MalformedMessage("attribute of length 3"), "attribute of length 3"),
        (ZeroDivisionError("division by zero"), "internal error: division by zero"),
        (asyncio.CancelledError(), "it was cancelled"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_ends_it_is_told_and_it_is_started_anew(error: BaseException, words: str) -> None:
    eye = Eye([fails(error), watches])
    told, supervision = supervise(10, eye)
    assert told.events == [SensorLost(0, "eye", words), SensorBack(FIRST_PAUSE, "eye")]
    assert supervision.health == {"eye": "ok"}


def test_only_what_nobody_foresaw_is_logged_with_its_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervise(0.5, Eye([fails(OSError("away"))]))
    assert [record.exc_info for record in caplog.records] == [None]
    caplog.clear()
    supervise(0.5, Eye([fails(ZeroDivisionError())]))
    assert any(record.exc_info for record in caplog.records)


def test_ending_by_itself_is_as_bad() -> None:
    eye = Eye([ends, watches])
    told, _ = supervise(10, eye)
    assert told.events[0] == SensorLost(0, "eye", "it ended by itself")
    assert len(eye.starts) == 2


def test_the_health_is_live_while_it_is_away() -> None:
    _, supervision = supervise(100, Eye([fails(OSError("away"))]))
    assert supervision.health == {"eye": "not available: away"}


def test_a_loss_that_lasts_is_told_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    eye = Eye([fails(OSError("away"))])
    told, _ = supervise(3600, eye)
    assert told.events == [SensorLost(0, "eye", "away")]
    assert len(eye.starts) > 30
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


def test_another_reason_is_shown_but_the_loss_is_the_same() -> None:
    told, supervision = supervise(60, Eye([fails(OSError("one")), fails(OSError("other"))]))
    assert supervision.health == {"eye": "not available: other"}
    assert told.events == [SensorLost(0, "eye", "one")]


def test_the_pause_doubles_up_to_a_limit() -> None:
    eye = Eye([fails(OSError("away"))])
    supervise(300, eye)
    pauses = [after - before for before, after in zip(eye.starts, eye.starts[1:], strict=False)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert LONGEST_PAUSE == 60


def test_after_a_time_that_it_worked_the_pause_is_short_again() -> None:
    lives: list[Life] = [fails(OSError("away"))] * 5
    works = fails(OSError("again"), LONGEST_PAUSE, sees=True)
    eye = Eye([*lives, works, watches], patience=None)
    told, _ = supervise(300, eye)
    assert eye.starts[-1] - eye.ends[-2] == FIRST_PAUSE
    assert len(told.events) == 4


def test_one_that_sees_and_fails_at_once_is_not_started_every_second() -> None:
    eye = Eye([fails(OSError("away"), sees=True)])
    told, _ = supervise(3600, eye)
    assert len(eye.starts) < 70
    # Each loss and each return is told, one after the other.
    kinds = [type(event) for event in told.events]
    assert kinds[0::2] == [SensorLost] * len(kinds[0::2])
    assert kinds[1::2] == [SensorBack] * len(kinds[1::2])


def test_one_that_hangs_beyond_its_patience_is_lost_and_started_anew() -> None:
    eye = Eye([hangs, watches])
    told, supervision = supervise(PATIENCE + 10, eye)
    lost, back = told.events
    assert lost == SensorLost(PATIENCE + TURN_SECONDS, "eye", "no sign of life for 30 s")
    assert back == SensorBack(PATIENCE + TURN_SECONDS + FIRST_PAUSE, "eye")
    assert supervision.health == {"eye": "ok"}
    assert eye.ends[0] == PATIENCE + TURN_SECONDS


def test_one_that_stops_giving_signs_of_life_is_lost() -> None:
    async def tires(alive: Callable[[], None]) -> None:
        for _ in range(3):
            alive()
            await asyncio.sleep(10)
        await asyncio.Event().wait()

    told, _ = supervise(100, Eye([tires, watches]))
    assert [type(event) for event in told.events] == [SensorLost, SensorBack]
    assert told.events[0].time == 20 + PATIENCE + TURN_SECONDS


def test_one_that_hangs_for_good_is_started_ever_more_rarely() -> None:
    eye = Eye([hangs])
    told, supervision = supervise(86400, eye)
    assert len(eye.starts) < 13
    assert told.events == [SensorLost(PATIENCE + TURN_SECONDS, "eye", "no sign of life for 30 s")]
    assert "no sign of life" in supervision.health["eye"]


def test_one_that_came_back_has_to_give_signs_as_often_as_before() -> None:
    async def tires(alive: Callable[[], None]) -> None:
        alive()
        await asyncio.Event().wait()

    told, _ = supervise(3 * PATIENCE, Eye([hangs, hangs, tires, watches]), told=Told())
    assert [type(event) for event in told.events] == [SensorLost]
    eye = Eye([hangs, tires, watches])
    told, _ = supervise(4 * PATIENCE, eye)
    lost = [event.time for event in told.events if isinstance(event, SensorLost)]
    assert lost[1] - eye.starts[1] == PATIENCE + TURN_SECONDS


def test_slow_work_that_takes_longer_than_the_patience_gets_it_in_the_end() -> None:
    async def slow(alive: Callable[[], None]) -> None:
        await asyncio.sleep(3 * PATIENCE)
        alive()
        await watches(alive)

    told, supervision = supervise(20 * PATIENCE, Eye([slow]))
    assert supervision.health == {"eye": "ok"}
    assert [type(event) for event in told.events] == [SensorLost, SensorBack]


def test_one_that_only_listens_may_be_silent_for_days() -> None:
    told, supervision = supervise(10 * 86400, Eye([listens], patience=None))
    assert (told.events, supervision.health) == ([], {"eye": "ok"})


def test_a_stop_of_the_whole_program_is_no_loss() -> None:
    """As after SIGSTOP: all that is due is due at once, and the sensor may not come first."""
    told = Told()

    async def looks(alive: Callable[[], None]) -> None:
        while True:
            for _ in range(10):
                await asyncio.sleep(0)
            alive()
            await asyncio.sleep(10)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        supervision = Supervision(now, told)
        supervision.start(Eye([looks]))
        await asyncio.sleep(15)
        loop.stand_still(10 * PATIENCE)
        await asyncio.sleep(60)
        await supervision.close()

    virtual_time.run(main())
    assert told.events == []


def test_one_that_does_not_want_to_end_is_lost_all_the_same() -> None:
    async def clings(alive: Callable[[], None]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1000)

    told, _ = supervise(PATIENCE + 10, Eye([clings]))
    assert [type(event) for event in told.events] == [SensorLost]


def test_a_policy_that_fails_ends_no_supervision_and_hears_it_later() -> None:
    told = Told(refusals=1)
    eye = Eye([fails(OSError("one")), fails(OSError("other")), watches])
    supervise(20, eye, told=told)
    lost, back = told.events
    assert lost == SensorLost(FIRST_PAUSE, "eye", "other")
    assert isinstance(back, SensorBack)


def test_a_return_that_could_not_be_told_is_told_with_the_next_sign_of_life() -> None:
    told = Told()

    async def deaf(alive: Callable[[], None]) -> None:
        told.refusals = 1
        await watches(alive)

    supervise(20, Eye([fails(OSError("away")), deaf]), told=told)
    assert told.events == [SensorLost(0, "eye", "away"), SensorBack(FIRST_PAUSE + 10, "eye")]


def test_the_failure_of_one_is_none_of_the_others() -> None:
    told, supervision = supervise(
        100, Eye([fails(OSError("away"))], "one"), Eye([watches], "other")
    )
    assert supervision.health == {"one": "not available: away", "other": "ok"}
    assert {event.sensor for event in told.events if isinstance(event, SensorLost)} == {"one"}


def test_close_ends_all_whatever_they_do() -> None:
    eyes = [
        Eye([watches], "works"),
        Eye([hangs], "hangs", None),
        Eye([fails(OSError("away"))], "waits for its next start"),
    ]

    async def main() -> None:
        supervision = Supervision(now, Told())
        for eye in eyes:
            supervision.start(eye)
        await asyncio.sleep(40)
        await supervision.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(main())
    assert all(len(eye.starts) == len(eye.ends) for eye in eyes)


LIVES: list[Life] = [
    watches,
    hangs,
    ends,
    fails(OSError("at once")),
    fails(OSError("soon"), 5, sees=True),
    fails(ValueError("later"), 100, sees=True),
]


@given(st.lists(st.sampled_from(LIVES), min_size=1, max_size=8))
def test_losses_and_returns_alternate_and_the_health_agrees_with_them(lives: list[Life]) -> None:
    told, supervision = supervise(2000, Eye(lives))
    kinds = [type(event) for event in told.events]
    assert kinds == [SensorLost, SensorBack] * (len(kinds) // 2) + [SensorLost] * (len(kinds) % 2)
    assert supervision.health["eye"].startswith("not available") == (len(kinds) % 2 == 1)


def test_the_first_signs_are_waited_for_be_they_good_or_bad() -> None:
    async def seen(alive: Callable[[], None]) -> None:
        await asyncio.sleep(5)
        alive()
        await asyncio.sleep(1000)

    async def unseen(alive: Callable[[], None]) -> None:
        await asyncio.sleep(8)
        raise OSError("nothing to be seen")

    async def main() -> None:
        supervision = Supervision(now, Told())
        supervision.start(Eye([seen], "seen"))
        supervision.start(Eye([unseen], "unseen"))
        began = now()
        await supervision.first_signs(["seen", "unseen"])
        assert now() - began == pytest.approx(8)
        await supervision.close()

    virtual_time.run(main())
