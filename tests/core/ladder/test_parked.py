# SPDX-License-Identifier: GPL-2.0-or-later
"""What could not be drained: nothing else waits for it, and hardware waits until it is tried."""

from __future__ import annotations

from flowguard.core.events import (
    Converge,
    Converged,
    DrainProgress,
    FaultSeen,
    Severity,
    Tick,
)
from flowguard.core.ladder.progress import PARKED_RETRY
from flowguard.core.model import Level
from flowguard.core.replay import decode_event, encode_event
from flowguard.core.requests import HoldAsked, RetryAsked
from flowguard.core.state import Phase
from tests.core.test_policy import SETTINGS, Story, fault, started

HARDWARE, SOFTWARE = Level.HARDWARE, Level.SOFTWARE
IN_SOFTWARE = (("lan1", SOFTWARE), ("lan2", SOFTWARE), ("wan", SOFTWARE))
IN_HARDWARE = tuple((name, HARDWARE) for name, _ in IN_SOFTWARE)


def parked(time: float = 260) -> Converged:
    return Converged(time, IN_SOFTWARE, ("wan",))


def stepped_down() -> Story:
    """A fault of one device, whose drain does not come to its end; the others follow it down."""
    story = started().on(FaultSeen(200, fault(device="wan"))).on(DrainProgress(201, 5, 5))
    return story.on(Tick(200 + SETTINGS.drain_limit)).on(parked())


def all_down() -> Story:
    return stepped_down().on(parked(261))


def asked(story: Story) -> list[Converge]:
    return [c for c in story.last if isinstance(c, Converge)]


def test_people_are_told_once_that_it_could_not_be_drained() -> None:
    story = stepped_down()
    (told,) = story.notes(Severity.ERROR)
    assert told.startswith("wan could not be drained")
    assert not story.on(parked(261)).notes(Severity.ERROR)
    assert story.state.drain is None


def test_no_device_stays_on_hardware_while_something_is_parked() -> None:
    story = stepped_down()
    (down,) = asked(story)
    assert down.levels == IN_SOFTWARE
    story.on(parked(261))
    assert set(story.levels().values()) == {SOFTWARE}
    assert story.state.reached == IN_SOFTWARE
    assert story.state.parked == ("wan",)


def test_the_hold_off_runs_on_and_ends_whatever_is_parked() -> None:
    story = all_down()
    verdict = story.state.verdict_on("wan")
    assert verdict and verdict.held_until == 200 + SETTINGS.hold_off
    assert story.state.phase is Phase.HELD_OFF
    story.on(Tick(verdict.held_until))
    after = story.state.verdict_on("wan")
    assert after and not story.state.holds(after)
    assert story.levels()["wan"] is SOFTWARE


def test_after_its_time_it_is_tried_again_and_then_hardware_comes_back() -> None:
    story = all_down()
    due = 261 + PARKED_RETRY
    assert not asked(story.on(Tick(due - 1)))
    assert story.state.next_deadline() == due
    (tried,) = asked(story.on(Tick(due)))
    assert dict(tried.levels)["lan1"] is SOFTWARE
    # It is not tried again at each event until the kernel has answered.
    assert not asked(story.on(Tick(due + 1)))
    (up,) = asked(story.on(Converged(due + 2, IN_SOFTWARE)))
    assert up.levels == IN_HARDWARE and not story.state.parked


def test_parked_again_it_is_tried_again_as_much_later() -> None:
    story = all_down()
    due = 261 + PARKED_RETRY
    story.on(Tick(due)).on(parked(due + 60))
    assert story.state.parked == ("wan",)
    assert story.state.parked_retry == due + 60 + PARKED_RETRY
    assert not asked(story.on(Tick(due + 61)))
    assert len(asked(story.on(Tick(due + 60 + PARKED_RETRY)))) == 1


def test_other_requests_are_served_meanwhile() -> None:
    story = all_down()
    story.on(HoldAsked(300, 3600))
    assert story.state.held_until == 3900
    story.on(RetryAsked(310))
    assert set(story.levels().values()) == {SOFTWARE}, "what is parked stays so until it is tried"


def test_the_event_log_has_it() -> None:
    for what in (parked(), all_down().state):
        assert decode_event(encode_event(what)) == what
