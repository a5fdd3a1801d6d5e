# SPDX-License-Identifier: GPL-2.0-or-later
"""What people may ask for at run time, and what comes of it."""

from __future__ import annotations

from flowguard.core.events import (
    Converge,
    Converged,
    DevicesChanged,
    FaultSeen,
    Save,
    Started,
    Tick,
)
from flowguard.core.model import Attribution, FaultClass, Level
from flowguard.core.requests import ForgetAsked, HoldAsked, RetryAsked, SuspendAsked
from flowguard.core.state import Phase
from tests.core.test_policy import ALL, SETTINGS, Story, fault

HARDWARE, SOFTWARE, NONE = Level.HARDWARE, Level.SOFTWARE, Level.NONE


def steady() -> Story:
    story = Story().on(Started(100, HARDWARE, SETTINGS)).on(DevicesChanged(100, ALL))
    return story.on(Converged(101))


def held() -> Story:
    return steady().on(FaultSeen(200, fault(device="wan"))).on(Converged(210))


def test_retry_ends_the_hold_off_and_the_device_comes_back_as_a_canary() -> None:
    story = held().on(RetryAsked(220))
    (asked,) = [c for c in story.last if isinstance(c, Converge)]
    assert asked.draw.canary == 16
    story.on(Converged(221))
    assert story.levels()["wan"] is HARDWARE and story.state.phase is Phase.CANARY
    verdict = story.state.verdict_on("wan")
    assert verdict and verdict.strikes == 1


def test_retry_does_not_help_a_kernel_that_is_damaged() -> None:
    oops = fault(Attribution.OFFLOAD, "wan", fault_class=FaultClass.KERNEL_OOPS)
    story = steady().on(FaultSeen(200, oops)).on(Converged(210))
    assert story.on(RetryAsked(220)).levels()["wan"] is SOFTWARE
    assert story.on(ForgetAsked(230)).levels()["wan"] is SOFTWARE


def test_hold_keeps_everything_from_hardware_for_so_long() -> None:
    story = steady().on(HoldAsked(200, 300)).on(Converged(210))
    assert set(story.levels().values()) == {SOFTWARE}
    assert story.state.next_deadline() == 500
    assert set(story.on(Tick(500)).levels().values()) == {HARDWARE}


def test_hold_of_nothing_ends_it() -> None:
    story = steady().on(HoldAsked(200, 300)).on(Converged(210)).on(HoldAsked(220, 0))
    assert set(story.levels().values()) == {HARDWARE}


def test_a_hold_that_nobody_asked_for_does_not_shorten_one() -> None:
    story = steady().on(HoldAsked(200, 9000)).on(HoldAsked(210, 300, "because", at_least=True))
    assert story.state.held_until == 9200
    assert steady().on(HoldAsked(210, 300, "because", at_least=True)).state.held_until == 510


def test_suspend_takes_everything_down_until_it_is_resumed() -> None:
    story = steady().on(SuspendAsked(200, suspended=True)).on(Converged(210)).on(Tick(9000))
    assert set(story.levels().values()) == {NONE}
    assert set(story.on(SuspendAsked(9001, suspended=False)).levels().values()) == {HARDWARE}


def test_forget_drops_the_strikes_of_one_device_or_of_all() -> None:
    story = held().on(FaultSeen(300, fault(device="lan1"))).on(Converged(310))
    story.on(ForgetAsked(320, "wan"))
    assert [v.device for v in story.state.verdicts] == ["lan1"]
    assert story.levels()["wan"] is HARDWARE
    story.on(ForgetAsked(330))
    assert not story.state.verdicts and Save() in story.last
