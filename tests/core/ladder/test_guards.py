# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware is left when an eye that guards it is blind for long, and comes back with the eye."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.events import (
    Converge,
    Converged,
    Decided,
    DevicesChanged,
    Event,
    SensorBack,
    SensorLost,
    Started,
    Tick,
)
from flowguard.core.model import Level
from flowguard.core.policy import decide
from flowguard.core.records import replace
from flowguard.core.replay import decode_event, encode_event
from flowguard.core.state import GUARDS, State
from tests.core.test_policy import ALL, SETTINGS, Story, started

HARDWARE, SOFTWARE = {Level.HARDWARE}, {Level.SOFTWARE}
GRACE = SETTINGS.blind_grace


def lost(time: float, sensor: str = "kmsg") -> SensorLost:
    return SensorLost(time, sensor, "/dev/kmsg: No such file or directory")


def on(story: Story) -> set[Level]:
    return set(story.levels().values())


@pytest.mark.parametrize("sensor", GUARDS)
def test_a_guard_that_stays_blind_costs_hardware_after_the_grace(sensor: str) -> None:
    story = started().on(lost(200, sensor))
    assert on(story) == HARDWARE
    assert story.state.next_deadline() == 200 + GRACE
    story.on(Tick(200 + GRACE))
    assert on(story) == SOFTWARE
    assert {d.after for d in story.decided()} == SOFTWARE
    told = story.decided()[0].reason
    assert sensor in told and "/dev/kmsg: No such file or directory" in told


def test_hardware_comes_back_when_the_eye_has_seen_for_as_long_and_nobody_is_convicted() -> None:
    story = started().on(lost(200)).on(Tick(230)).on(Converged(240))
    story.on(SensorBack(500, "kmsg"))
    assert on(story) == SOFTWARE
    assert story.state.next_deadline() == 500 + GRACE
    story.on(Tick(500 + GRACE))
    assert on(story) == HARDWARE
    assert not story.state.verdicts and not story.state.draw.canary


def test_the_grace_ends_at_its_deadline_whatever_floats_make_of_it() -> None:
    times = [1000 + number / 1000 for number in range(1000)]
    since = next(time for time in times if time + GRACE - time < GRACE)
    story = started(time=since).on(lost(since))
    deadline = story.state.next_deadline()
    assert deadline
    assert on(story.on(Tick(deadline))) == SOFTWARE
    story.on(Converged(deadline)).on(SensorBack(2 * since, "kmsg"))
    back = story.state.next_deadline()
    assert back
    assert on(story.on(Tick(back))) == HARDWARE


def test_a_short_loss_changes_nothing() -> None:
    story = started()
    story.commands.clear()
    story.on(lost(200)).on(SensorBack(200 + GRACE - 1, "kmsg")).on(Tick(300))
    assert not [c for c in story.commands if isinstance(c, Converge | Decided)]
    assert on(story) == HARDWARE


def test_a_later_loss_has_its_own_grace() -> None:
    story = started().on(lost(200)).on(SensorBack(210, "kmsg")).on(lost(210 + GRACE))
    story.on(Tick(210 + 2 * GRACE - 1))
    assert on(story) == HARDWARE
    story.on(Tick(210 + 2 * GRACE))
    assert on(story) == SOFTWARE


def test_one_that_sees_for_moments_only_is_blind() -> None:
    story = started()
    for time in range(200, 200 + int(GRACE), 5):
        story.on(lost(time)).on(SensorBack(time + 2, "kmsg"))
    assert on(story) == HARDWARE
    story.on(lost(200 + GRACE))
    assert on(story) == SOFTWARE
    story.on(Converged(240)).on(SensorBack(250, "kmsg")).on(lost(250 + GRACE - 1))
    story.on(SensorBack(290, "kmsg")).on(Tick(290 + GRACE - 1))
    assert on(story) == SOFTWARE


def test_told_again_that_it_is_lost_the_grace_does_not_begin_anew() -> None:
    story = started().on(lost(200)).on(lost(220)).on(Tick(200 + GRACE))
    assert on(story) == SOFTWARE


def test_one_eye_back_is_not_enough_while_another_is_blind() -> None:
    story = started().on(lost(200)).on(lost(201, "flows")).on(Tick(240)).on(Converged(241))
    story.on(SensorBack(300, "kmsg")).on(Tick(400))
    assert on(story) == SOFTWARE
    story.on(SensorBack(410, "flows")).on(Tick(410 + GRACE))
    assert on(story) == HARDWARE


@pytest.mark.parametrize("sensor", ["engine", "hook", "ubus", "links", "tables", "supervisor"])
def test_without_another_sensor_nobody_is_harmed(sensor: str) -> None:
    story = started().on(lost(200, sensor)).on(Tick(200 + 10 * GRACE))
    assert on(story) == HARDWARE
    assert not story.state.blind


def test_where_a_guard_never_sees_hardware_is_not_used() -> None:
    """No /dev/kmsg: hardware of the daemon before may stay for the grace, and no longer."""
    story = Story().on(Started(100, Level.HARDWARE, SETTINGS)).on(lost(100))
    story.on(DevicesChanged(100 + GRACE, ALL)).on(Converged(140))
    assert on(story) == SOFTWARE
    story.on(Tick(10_000))
    assert on(story) == SOFTWARE


def test_where_nothing_is_moved_a_lost_guard_moves_nothing_either() -> None:
    settings = replace(SETTINGS, detect_only=True)
    story = Story().on(Started(100, Level.HARDWARE, settings))
    story.on(DevicesChanged(100, ALL)).on(Converged(100)).on(lost(200)).on(Tick(1000))
    assert on(story) == HARDWARE


def test_the_event_log_has_it() -> None:
    story = started().on(lost(200))
    for what in (lost(200), SensorBack(201, "kmsg"), story.state):
        assert decode_event(encode_event(what)) == what


losses = st.tuples(st.sampled_from((*GUARDS, "engine")), st.booleans())
steps = st.lists(st.tuples(st.floats(0, 60), st.none() | losses), max_size=40)


def events_of(steps: list[tuple[float, tuple[str, bool] | None]]) -> Iterator[Event]:
    """Of each step: how much later it is, and which sensor is lost (True) or back."""
    time = 1000.0
    yield Started(time, Level.HARDWARE, SETTINGS)
    yield DevicesChanged(time, ALL)
    for seconds, what in steps:
        time += seconds
        if what is None:
            yield Tick(time)
        else:
            sensor, is_lost = what
            yield lost(time, sensor) if is_lost else SensorBack(time, sensor)


@given(steps)
def test_hardware_is_never_wanted_while_a_guard_has_been_blind_for_longer_than_the_grace(
    steps: list[tuple[float, tuple[str, bool] | None]],
) -> None:
    state, blind = State(), dict[str, float]()
    for event in events_of(steps):
        if isinstance(event, SensorLost) and event.sensor in GUARDS:
            blind.setdefault(event.sensor, event.time)
        if isinstance(event, SensorBack):
            blind.pop(event.sensor, None)
        state, commands = decide(state, event)
        if any(isinstance(c, Converge) for c in commands):
            state, _ = decide(state, Converged(event.time))
        levels = {level for _, level in state.levels}
        if any(event.time >= since + GRACE for since in blind.values()):
            assert levels == SOFTWARE
        elif blind:
            # Somebody will come back to it in time.
            deadline = state.next_deadline()
            if levels == HARDWARE:
                assert deadline is not None and deadline <= min(blind.values()) + GRACE


@given(steps)
def test_whatever_was_lost_hardware_comes_back_once_all_have_seen_for_long(
    steps: list[tuple[float, tuple[str, bool] | None]],
) -> None:
    state, end = State(), 0.0
    for event in events_of(steps):
        state, _ = decide(state, event)
        end = event.time
    for sensor in GUARDS:
        state, _ = decide(state, SensorBack(end, sensor))
    state, _ = decide(state, Converged(end + 1))
    state, _ = decide(state, Tick(end + GRACE))
    assert {level for _, level in state.levels} == HARDWARE


@pytest.mark.parametrize("sensor", GUARDS)
def test_nothing_goes_up_while_a_guard_is_blind_if_only_since_a_moment(sensor: str) -> None:
    story = Story().on(Started(100, Level.HARDWARE, SETTINGS)).on(lost(100, sensor))
    story.on(DevicesChanged(100, ALL))
    assert on(story) == SOFTWARE
    story.on(SensorBack(101, sensor)).on(Tick(101 + GRACE))
    assert on(story) == HARDWARE


def test_a_guard_that_is_lost_while_the_kernel_is_asked_for_hardware_takes_that_back() -> None:
    story = Story().on(Started(100, Level.HARDWARE, SETTINGS)).on(DevicesChanged(100, ALL))
    assert on(story) == HARDWARE
    assert on(story.on(lost(100.1))) == SOFTWARE


def test_what_the_daemon_before_left_in_hardware_stays_for_the_grace() -> None:
    held = tuple((device.name, Level.HARDWARE) for device in ALL)
    story = Story().on(Started(100, Level.HARDWARE, SETTINGS, held=held)).on(lost(100))
    assert on(story.on(DevicesChanged(100, ALL))) == HARDWARE
    assert on(story.on(Tick(100 + GRACE))) == SOFTWARE
