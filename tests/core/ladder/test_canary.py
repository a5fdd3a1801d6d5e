# SPDX-License-Identifier: GPL-2.0-or-later
"""The way back up after a hold-off, and how a device loses its strikes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.arms.draw import ENDED_CHECKPOINTS, FIRST_CHECKPOINT, OutcomeKind, Outcomes
from flowguard.core.arms.passing import EXCESS, PASS, Passing, update
from flowguard.core.arms.sequential_test import Counts
from flowguard.core.events import (
    Converge,
    Converged,
    Decided,
    DevicesChanged,
    FaultSeen,
    FlowsJudged,
    Save,
    Started,
    Tick,
)
from flowguard.core.model import Family, Level, Protocol
from flowguard.core.records import replace
from flowguard.core.replay import decode_event, encode_event, replay
from flowguard.core.requests import HoldAsked, Request, SuspendAsked, WantedChanged
from flowguard.core.state import CANARY_PATIENCE, Phase
from tests.core.test_policy import ALL, SETTINGS, Story, fault

HARDWARE, SOFTWARE = Level.HARDWARE, Level.SOFTWARE
SOAK = SETTINGS.canary_soak
WEEK = SETTINGS.forgive_after


def up_again(**settings: Any) -> Story:
    """A device that was held off and may try again now."""
    chosen = replace(SETTINGS, **settings)
    story = Story().on(Started(100, HARDWARE, chosen)).on(DevicesChanged(100, ALL))
    story.on(Converged(101)).on(FaultSeen(200, fault(device="wan"))).on(Converged(210))
    return story.on(Tick(800)).on(Converged(801))


def flows(
    story: Story,
    seconds: float,
    rate: float = 1.0,
    failing: float = 0.01,
    kind: OutcomeKind = OutcomeKind.ANSWERED,
) -> Story:
    """Traffic for some time, drawn as the policy asks; stops when the device steps down."""
    rng = random.Random(1)
    age = FIRST_CHECKPOINT if kind is OutcomeKind.ANSWERED else ENDED_CHECKPOINTS[0]
    for _ in range(int(seconds / 10)):
        control = 1 / story.state.draw.control_in(SETTINGS.control_share)
        numbers = [0, 0, 0, 0]
        for _ in range(int(rate * 10)):
            in_control = rng.random() < control
            bad = rng.random() < (0.01 if in_control else failing)
            numbers[2 * in_control + (not bad)] += 1
        place = (Family.IPV4, Protocol.TCP, ("lan1", "wan"), story.state.epoch)
        row = Outcomes(kind, age, *place, Counts(*numbers))
        story.on(FlowsJudged(story.state.time + 10, (row,), observed=50))
        if not story.state.converged:
            story.on(Converged(story.state.time))
        if story.levels()["wan"] is not HARDWARE:
            break
    return story


def stage(story: Story) -> int:
    verdict = story.state.verdict_on("wan")
    assert verdict
    return verdict.canary


def test_after_the_hold_off_one_flow_in_sixteen_tries_hardware() -> None:
    story = up_again()
    asked = [c for c in story.commands if isinstance(c, Converge)][-1]
    assert dict(asked.levels)["wan"] is HARDWARE
    assert asked.draw.canary == 16
    assert asked.draw.control_in(SETTINGS.control_share) == pytest.approx(16 / 15)
    assert story.state.phase is Phase.CANARY


def test_a_healthy_device_passes_stage_by_stage_and_each_is_saved() -> None:
    story = up_again()
    stages, saves = [stage(story)], story.commands.count(Save())
    for _ in range(10):
        flows(story, SOAK / 4)
        if stage(story) != stages[-1]:
            stages.append(stage(story))
    assert stages == [16, 4, 0]
    assert story.commands.count(Save()) == saves + 2
    assert story.state.phase is Phase.STEADY and story.state.draw.canary is None
    passed = [c.decision.reason for c in story.commands if isinstance(c, Decided)]
    assert any("canary of one in 16 flows passed" in reason for reason in passed)


def test_evidence_alone_does_not_pass_before_the_soak_time() -> None:
    assert stage(flows(up_again(), SOAK * 0.9, rate=20)) == 16


def test_the_soak_time_begins_when_flows_go_to_hardware() -> None:
    story = up_again().on(HoldAsked(810, 2 * SOAK)).on(Converged(820))
    story.on(Tick(810 + 2 * SOAK)).on(Converged(811 + 2 * SOAK))
    assert stage(flows(story, SOAK * 0.9, rate=20)) == 16
    assert stage(flows(story, SOAK * 0.2, rate=20)) == 4


def test_time_alone_does_not_pass_while_flows_could_tell() -> None:
    assert stage(flows(up_again(), SOAK * 3, rate=0.2)) == 16


def test_where_nothing_can_be_counted_long_patience_passes() -> None:
    story = up_again()
    assert stage(story.on(Tick(800 + SOAK * (CANARY_PATIENCE - 1)))) == 16
    assert stage(story.on(Tick(800 + SOAK * CANARY_PATIENCE))) == 4


def test_where_answers_cannot_be_counted_the_ends_of_connections_pass() -> None:
    assert stage(flows(up_again(), SOAK * 1.5, rate=2, kind=OutcomeKind.ENDED)) == 4


def test_a_failing_device_does_not_pass_and_is_held_off_for_longer() -> None:
    story = flows(up_again(), SOAK * 2, rate=2, failing=0.5)
    verdict = story.state.verdict_on("wan")
    assert verdict and verdict.highest is SOFTWARE
    assert verdict.strikes == 2 and verdict.hold == 2 * SETTINGS.hold_off


def test_a_fault_in_the_canary_ends_it() -> None:
    story = up_again().on(FaultSeen(900, fault(device="wan")))
    assert story.levels()["wan"] is SOFTWARE and stage(story) == 0
    story.on(Converged(901))
    assert story.state.draw.canary is None


def test_suspicion_does_not_put_more_flows_into_hardware() -> None:
    story = up_again()
    flows(story, 200, rate=3, failing=1.0)
    asked = [c for c in story.commands if isinstance(c, Converge) and c.draw.canary is not None]
    assert {c.draw.canary for c in asked} == {16}
    assert all(c.draw.control_share is None for c in asked)


def test_without_a_control_group_all_flows_go_up_at_once() -> None:
    story = up_again(control_share=0)
    assert story.levels()["wan"] is HARDWARE and stage(story) == 0


def test_healthy_weeks_make_good_for_strikes() -> None:
    story = up_again(control_share=0)
    for _ in range(2):
        story.on(FaultSeen(story.state.time + 10, fault(device="wan")))
        verdict = story.state.verdict_on("wan")
        assert verdict
        story.on(Converged(story.state.time)).on(Tick(verdict.held_until)).on(
            Converged(verdict.held_until)
        )
    verdict = story.state.verdict_on("wan")
    assert verdict and story.state.strikes_left(verdict) == 3
    saves = story.commands.count(Save())
    story.on(Tick(story.state.time + 2.5 * WEEK))
    assert story.state.strikes_left(verdict) == 1 and story.commands.count(Save()) == saves
    story.on(FaultSeen(story.state.time, fault(device="wan")))
    verdict = story.state.verdict_on("wan")
    assert verdict and verdict.strikes == 2


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (SuspendAsked(0, suspended=True), SuspendAsked(0, suspended=False)),
        (HoldAsked(0, 100 * WEEK), HoldAsked(0, 0)),
        (WantedChanged(0, SOFTWARE), WantedChanged(0, HARDWARE)),
    ],
)
def test_only_time_on_hardware_makes_good_for_strikes(down: Request, up: Request) -> None:
    story = up_again(control_share=0)
    for event in (down, up):
        # The first time healthy, the second time kept off by people.
        story.on(Tick(story.state.time + WEEK / 2))
        story.on(replace(event, time=story.state.time)).on(Converged(story.state.time))
    verdict = story.state.verdict_on("wan")
    assert verdict and story.levels()["wan"] is HARDWARE
    assert story.state.strikes_left(verdict) == 1
    almost = story.state.time + WEEK * 0.49
    assert story.on(Tick(almost)).state.strikes_left(verdict) == 1
    assert story.on(Tick(almost + WEEK * 0.02)).state.strikes_left(verdict) == 0


def test_soak_time_is_time_on_hardware_too() -> None:
    story = up_again().on(Tick(801 + SOAK * 0.9)).on(SuspendAsked(801 + SOAK, suspended=True))
    story.on(Converged(802 + SOAK)).on(SuspendAsked(9 * SOAK, suspended=False))
    assert stage(flows(story.on(Converged(9 * SOAK)), SOAK * 0.9, rate=20)) == 16


def test_the_life_of_a_verdict_is_one_replay_file() -> None:
    """Fault, hold-off, canary, fault again, longer hold-off, healthy, decayed."""
    story = Recorded()
    story.on(Started(100, HARDWARE, SETTINGS)).on(DevicesChanged(100, ALL)).on(Converged(101))
    story.on(FaultSeen(200, fault(device="wan"))).on(Converged(210)).on(Tick(800))
    story.on(Converged(801)).on(FaultSeen(900, fault(device="wan"))).on(Converged(910))
    story.on(Tick(2100)).on(Converged(2101))
    for _ in range(12):
        flows(story, SOAK / 4)
    story.on(Tick(story.state.time + 3 * WEEK))
    story.on(FaultSeen(story.state.time, fault(device="wan")))
    lines = [encode_event(event) for event in story.recorded]
    assert all(json.loads(line) for line in lines)
    decisions = list(replay(map(decode_event, lines)))
    assert decisions == [c.decision for c in story.commands if isinstance(c, Decided)]
    verdict = story.state.verdict_on("wan")
    assert verdict and verdict.strikes == 1
    told = [f"{d.before}->{d.after}" for d in decisions if d.device == "wan"]
    down, up, stays = "hardware->software", "software->hardware", "hardware->hardware"
    assert told == ["none->hardware", down, up, down, up, stays, stays, down]


class Recorded(Story):
    """A story that keeps its events."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[Any] = []

    def on(self, event: Any) -> Recorded:
        self.recorded.append(event)
        super().on(event)
        return self


# --- the test itself ----------------------------------------------------------------------


def expected_factor(treated: int, control: int, rate: float) -> float:
    """E[e] of one block when treated flows fail EXCESS more often than the control arm."""
    from math import comb, exp

    bad = rate + EXCESS * (1 - rate)
    total = 0.0
    for x in range(treated + 1):
        for y in range(control + 1):
            chance = comb(treated, x) * bad**x * (1 - bad) ** (treated - x)
            chance *= comb(control, y) * rate**y * (1 - rate) ** (control - y)
            counts = Counts(x, treated - x, y, control - y)
            opened = update(Passing(rate=0.01), 0, Counts(), 0, 0.01)
            closed = update(opened, 60, counts, 0, 0.01)
            total += chance * exp(closed.log_e)
    return total


@pytest.mark.parametrize(("treated", "control"), [(1, 1), (1, 15), (4, 12), (8, 8), (15, 1)])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5])
def test_a_device_that_is_too_bad_gains_nothing_by_luck(
    treated: int, control: int, rate: float
) -> None:
    assert expected_factor(treated, control, rate) <= 1 + 1e-9


def connections_to_pass(seed: int) -> int:
    """Half of the flows treated, all failing in one of a hundred: as in the literature."""
    rng, passing = random.Random(seed), Passing()
    for number in range(1, 100_000):
        treated, bad = rng.random() < 0.5, rng.random() < 0.01
        index = (0 if treated else 2) + (not bad)
        counts = [0, 0, 0, 0]
        counts[index] = 1
        passing = update(passing, number / 10, Counts(*counts), 0, 0.01)
        if passing.passed:
            return number
    raise AssertionError("never passed")


def test_about_three_hundred_connections_pass_a_healthy_device() -> None:
    needed = sorted(connections_to_pass(seed) for seed in range(41))
    assert 200 < needed[20] < 450


@given(st.lists(st.tuples(*[st.integers(0, 30)] * 4), max_size=30), st.floats(0.002, 0.5))
def test_no_outcomes_break_the_test(rows: list[tuple[int, int, int, int]], rate: float) -> None:
    passing = Passing()
    for time, row in enumerate(rows):
        passing = update(passing, time * 20, Counts(*row), time // 5, rate)
    assert passing.log_e == passing.log_e and PASS > 1


def test_each_comparison_of_other_levels_has_a_seed_of_its_own_and_its_stages_keep_it() -> None:
    story = Story().on(Started(100, HARDWARE, SETTINGS, seed=77)).on(DevicesChanged(100, ALL))
    seeds = [story.state.draw.seed]
    assert seeds == [77]  # As the kernel draws by it already, no flow is drawn anew.
    story.on(Converged(101)).on(FaultSeen(200, fault(device="wan"))).on(Converged(210))
    seeds.append(story.state.draw.seed)
    story.on(Tick(800)).on(Converged(801))
    seeds.append(story.state.draw.seed)
    assert len(set(seeds)) == 3
    flows(story, 3 * SOAK)
    assert stage(story) == 0 and story.levels()["wan"] is HARDWARE
    assert story.state.draw.seed == seeds[-1]


def test_a_widened_control_arm_keeps_its_seed() -> None:
    story = Story().on(Started(100, HARDWARE, SETTINGS, seed=77)).on(DevicesChanged(100, ALL))
    story.on(Converged(101))
    place = (Family.IPV4, Protocol.TCP, ("lan1", "wan"), story.state.epoch)
    row = Outcomes(OutcomeKind.ANSWERED, FIRST_CHECKPOINT, *place, Counts(6, 24, 0, 2))
    while not story.state.draw.control_share and story.state.time < 400:
        story.on(FlowsJudged(story.state.time + 10, (row,), observed=50))
    assert story.state.draw.control_share == 2
    assert story.state.draw.seed == 77
