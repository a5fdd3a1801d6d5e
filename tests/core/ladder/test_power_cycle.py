# SPDX-License-Identifier: GPL-2.0-or-later
"""What stepping down cannot cure is said once, and not tried again in this boot."""

from __future__ import annotations

import pytest

from flowguard.core.events import (
    Command,
    Configured,
    Converged,
    FaultSeen,
    PowerCycleNeeded,
    Tick,
)
from flowguard.core.model import Attribution, Fault, FaultClass, Level
from flowguard.core.records import replace
from flowguard.core.requests import ForgetAsked, RetryAsked
from flowguard.core.state import allowed
from tests.core.test_policy import LAN1, LAN2, SETTINGS, WAN, Story, fault, started

DRIVER, WEAK = Attribution.DRIVER, Attribution.WEAK
STUCK = fault(device="wan")
RESET_FAILED = replace(
    fault(driver="mtk_soc_eth", rule="reset-failed", fault_class=FaultClass.DMA_OR_MEMORY),
    power_cycle=True,
)
STALLED = replace(
    fault(WEAK, rule="stalled", fault_class=FaultClass.DMA_OR_MEMORY), power_cycle=True
)


def dead(commands: list[Command]) -> list[str]:
    return [c.device for c in commands if isinstance(c, PowerCycleNeeded)]


def after(story: Story, time: float, found: Fault) -> list[str]:
    return dead(story.on(FaultSeen(time, found)).last)


def why(story: Story) -> dict[str, str]:
    return {d.name: allowed(story.state, d)[1] for d in story.state.devices}


def test_a_failed_reset_steps_down_and_is_told_once_for_each_device() -> None:
    story = started()
    assert after(story, 200, RESET_FAILED) == ["lan1", "lan2"]
    assert story.levels()["lan1"] is Level.SOFTWARE
    assert story.levels()["wan"] is Level.HARDWARE
    assert "needs a power cycle" in why(story)["lan1"]
    assert "needs a power cycle" not in why(story)["wan"]
    story.on(Converged(210))
    assert after(story, 300, RESET_FAILED) == []


def test_a_failed_reset_that_follows_at_once_belongs_to_the_same_incident_and_is_told() -> None:
    story = started().on(FaultSeen(200, fault(device="eth0")))
    assert after(story, 205, RESET_FAILED) == ["lan1", "lan2"]


@pytest.mark.parametrize("ended", ["hold-off", "retry", "forget"])
def test_a_dead_engine_is_not_tried_again_in_this_boot(ended: str) -> None:
    story = started().on(FaultSeen(200, RESET_FAILED)).on(Converged(210))
    if ended == "retry":
        story.on(RetryAsked(300))
    if ended == "forget":
        story.on(ForgetAsked(300, None))
    story.on(Tick(200 + 100 * SETTINGS.hold_off_limit))
    assert story.levels() == {
        "lan1": Level.SOFTWARE,
        "lan2": Level.SOFTWARE,
        "wan": Level.HARDWARE,
    }


def test_a_queue_that_is_stuck_minutes_after_the_step_is_dead() -> None:
    story = started()
    assert after(story, 200, STUCK) == []
    story.on(Converged(210))
    assert after(story, 260, STUCK) == []
    assert after(story, 330, STUCK) == ["wan"]
    assert after(story, 340, STUCK) == []
    story.on(Tick(5000))
    assert story.levels()["wan"] is Level.SOFTWARE


def test_a_queue_that_was_never_on_hardware_proves_nothing_about_the_engine() -> None:
    story = started(wanted=Level.SOFTWARE)
    assert all(after(story, time, STUCK) == [] for time in (200, 400, 600))


def test_another_fault_minutes_after_the_step_is_not_the_same_queue() -> None:
    story = started().on(FaultSeen(200, STUCK)).on(Converged(210))
    assert after(story, 400, fault(device="wan", rule="other")) == []
    assert after(story, 410, fault(device="lan1")) == []


def test_a_stalled_pool_says_it_of_what_has_stepped_down_only() -> None:
    story = started()
    assert after(story, 150, STALLED) == []
    story.on(FaultSeen(200, STUCK)).on(Converged(210))
    assert after(story, 260, STALLED) == ["wan"]
    assert story.levels()["lan1"] is Level.HARDWARE


def test_stalled_pools_alone_are_a_driver_fault_and_no_dead_engine() -> None:
    story = started()
    assert [after(story, 200 + 60 * n, STALLED) for n in range(6)] == [[]] * 6
    assert set(story.levels().values()) == {Level.SOFTWARE}


def test_detecting_only_tells_it_and_moves_nothing() -> None:
    story = started().on(Configured(150, Level.HARDWARE, replace(SETTINGS, detect_only=True)))
    assert after(story, 200, RESET_FAILED) == ["lan1", "lan2"]
    assert after(story, 300, RESET_FAILED) == []
    assert set(story.levels().values()) == {Level.HARDWARE}


def test_a_failed_reset_in_software_keeps_hardware_untried() -> None:
    story = started(time=10, devices=(LAN1, LAN2, WAN))
    assert after(story, 20, RESET_FAILED) == ["lan1", "lan2"]
    story.on(Tick(1000))
    assert story.levels()["lan1"] is Level.SOFTWARE
    assert story.levels()["wan"] is Level.HARDWARE
