# SPDX-License-Identifier: GPL-2.0-or-later
"""What follows when the engine's table contradicts connection tracking."""

from __future__ import annotations

import pytest

from flowguard.core.events import (
    Configured,
    Converged,
    DrainProgress,
    EngineSeen,
    FaultSeen,
    Notify,
    Save,
    Tick,
)
from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.requests import WantedChanged
from flowguard.core.state import Phase
from tests.core.test_policy import ALL, LAN1, SETTINGS, WAN, fault, started

TUPLES = tuple(f"tcp 192.0.2.1:{port} -> 192.0.2.2:443" for port in range(20))


def seen(time: float, orphans: int = 0, half_bound: int = 0) -> EngineSeen:
    return EngineSeen(time, TUPLES[:orphans], orphans, TUPLES[:half_bound], half_bound)


def all_at(level: Level) -> dict[str, Level]:
    return {device.name: level for device in ALL}


@pytest.mark.parametrize(
    ("event", "rule", "words"),
    [
        (seen(200, orphans=5), "engine-orphans", "5 flows in the engine without a connection"),
        (seen(200, half_bound=3), "engine-half-bound", "3 flows that the engine forwards one way"),
        (seen(200, orphans=3, half_bound=9), "engine-orphans", "3 flows in the engine without"),
    ],
)
def test_enough_of_them_step_down_every_device_on_hardware(
    event: EngineSeen, rule: str, words: str
) -> None:
    story = started().on(event)
    assert story.levels() == all_at(Level.SOFTWARE)
    for decision in story.decided():
        assert f"{rule}: {words}" in decision.reason
        assert TUPLES[0] in decision.evidence and TUPLES[3] not in decision.evidence
    assert {verdict.rule for verdict in story.state.verdicts} == {rule}
    assert Save() in story.last
    assert story.state.phase is Phase.DRAINING


@pytest.mark.parametrize("event", [seen(200), seen(200, 2, 2)])
def test_a_few_of_them_are_nothing(event: EngineSeen) -> None:
    story = started().on(event)
    assert story.levels() == all_at(Level.HARDWARE) and not story.last


def test_entries_that_are_leaving_in_a_drain_are_nothing() -> None:
    story = started().on(FaultSeen(200, fault(device="wan"))).on(DrainProgress(201, 4, 4))
    story.on(seen(240, orphans=9))
    assert story.state.phase is Phase.DRAINING
    assert story.levels()["lan1"] is Level.HARDWARE and not story.last


def test_devices_that_are_not_on_hardware_are_not_concerned() -> None:
    incapable = replace(LAN1, hardware_capable=False, reason="Operation not supported")
    story = started(devices=(incapable, WAN)).on(seen(200, orphans=3))
    assert [decision.device for decision in story.decided()] == ["wan"]
    assert story.state.verdict_on("lan1") is None


def test_on_software_nothing_is_held_against_anybody() -> None:
    story = started(wanted=Level.SOFTWARE).on(seen(200, orphans=9))
    assert not story.state.verdicts and not story.last


def test_orphans_that_remain_after_the_step_do_not_strike_again_while_held() -> None:
    story = started().on(seen(200, orphans=5)).on(Converged(210))
    before = story.state.verdicts
    for time in range(220, 790, 10):
        assert not story.on(seen(time, orphans=5)).last
    assert story.state.verdicts == before and story.levels() == all_at(Level.SOFTWARE)


def test_after_the_hold_off_orphans_are_evidence_again_and_held_longer() -> None:
    story = started().on(seen(200, orphans=5)).on(Converged(210)).on(Tick(800)).on(Converged(801))
    assert story.levels() == all_at(Level.HARDWARE)
    story.on(seen(900, orphans=5))
    verdict = story.state.verdict_on("wan")
    assert verdict and verdict.strikes == 2 and verdict.hold == 1200


def test_what_belongs_to_the_incident_of_a_step_is_not_a_second_strike() -> None:
    quick = replace(SETTINGS, hold_off=5.0)
    story = started().on(Configured(150, Level.HARDWARE, quick))
    story.on(FaultSeen(200, fault(device="wan"))).on(Converged(204)).on(Tick(206))
    story.on(Converged(207)).on(seen(210, orphans=3))
    assert story.levels() == {**all_at(Level.SOFTWARE), "wan": Level.HARDWARE}


def test_detecting_only_says_it_once_in_a_hold_off() -> None:
    only = replace(SETTINGS, detect_only=True)
    story = started().on(Configured(150, Level.HARDWARE, only)).on(seen(200, orphans=5))
    assert [d.device for d in story.decided()] == [d.name for d in ALL]
    assert all("would step down" in d.reason for d in story.decided())
    for time in range(210, 790, 10):
        assert not story.on(seen(time, orphans=5)).last
    assert story.levels() == all_at(Level.HARDWARE)
    assert len(story.on(seen(810, orphans=5)).decided()) == len(ALL)


def test_a_step_by_the_user_needs_no_evidence() -> None:
    story = started().on(WantedChanged(200, Level.NONE)).on(Converged(201))
    assert not [c for c in story.on(seen(240, orphans=9)).last if isinstance(c, Notify)]
