# SPDX-License-Identifier: GPL-2.0-or-later
"""A trial of a device binds its driver: when it is asked for, and what covers it."""

from __future__ import annotations

from hypothesis import given

from flowguard.core.events import (
    BootSeen,
    Converge,
    Converged,
    DevicesChanged,
    Event,
    FaultSeen,
    LedgerFailed,
    Save,
    Started,
    Tick,
    Try,
)
from flowguard.core.model import Attribution, Boots, Device, Fault, FaultClass, Level
from flowguard.core.policy import decide
from flowguard.core.records import replace
from flowguard.core.requests import HoldAsked, SuspendAsked, WantedChanged
from flowguard.core.state import State
from tests.core.test_policy import ALL, LAN1, SETTINGS, WAN, Story, fault
from tests.core.test_policy_properties import histories

HARDWARE, SOFTWARE = Level.HARDWARE, Level.SOFTWARE
UNTRIED = tuple(replace(device, hardware_capable=None) for device in ALL)
INCAPABLE = tuple(replace(device, hardware_capable=False, reason="veth") for device in ALL)
UPTIME = SETTINGS.boot_delay + 1


def found(time: float = UPTIME, devices: tuple[Device, ...] = UNTRIED) -> Story:
    """The first boot ever, and the devices as they are before anything was bound."""
    story = Story().on(Started(time, HARDWARE, SETTINGS))
    story.on(BootSeen(time, 1, False, (), (), "6.12", "1"))
    return story.on(DevicesChanged(time, devices))


def test_the_intent_is_saved_before_a_driver_is_bound_for_a_trial() -> None:
    story = found()
    kinds = [type(command) for command in story.last]
    assert kinds.index(Save) < kinds.index(Try)
    assert story.state.armed == UNTRIED
    assert set(story.levels().values()) == {SOFTWARE}


def test_the_trials_intent_is_that_of_the_hardware_that_follows() -> None:
    story = found().on(Converged(UPTIME))
    saves = story.commands.count(Save())
    story.on(DevicesChanged(UPTIME + 1, ALL)).on(Converged(UPTIME + 2))
    assert set(story.levels().values()) == {HARDWARE}
    assert story.commands.count(Save()) == saves and story.state.armed


def test_the_intent_is_cleared_when_no_device_is_capable() -> None:
    story = found().on(Converged(UPTIME)).on(DevicesChanged(UPTIME + 1, INCAPABLE))
    story.on(Converged(UPTIME + 2))
    assert not story.state.armed and Save() in story.last
    assert set(story.levels().values()) == {SOFTWARE}


def test_an_incapable_device_is_refused_nothing_and_gets_no_strike() -> None:
    story = found(devices=(UNTRIED[0], WAN)).on(DevicesChanged(UPTIME + 1, (INCAPABLE[0], WAN)))
    assert story.levels() == {LAN1.name: SOFTWARE, WAN.name: HARDWARE}
    assert not story.state.verdicts


def test_nothing_is_tried_before_hardware_may_be_used() -> None:
    story = found(time=5).on(Converged(6))
    assert Try() not in story.commands and not story.state.armed
    assert Try() in story.on(Tick(SETTINGS.boot_delay)).last
    assert story.state.armed == UNTRIED


def test_a_trial_is_asked_for_once() -> None:
    story = found().on(Tick(UPTIME + 1)).on(DevicesChanged(UPTIME + 2, UNTRIED))
    assert story.commands.count(Try()) == 1


def test_nothing_is_tried_while_people_keep_hardware_off() -> None:
    for event in (
        WantedChanged(10, SOFTWARE),
        HoldAsked(10, 1000),
        SuspendAsked(10, suspended=True),
    ):
        story = found(time=5).on(event).on(Tick(UPTIME))
        assert Try() not in story.commands


def test_a_trial_that_people_forestall_leaves_no_intent() -> None:
    story = found().on(Converged(UPTIME)).on(HoldAsked(UPTIME, 1000))
    assert story.state.armed  # It may be under way.
    story.on(DevicesChanged(UPTIME + 1, UNTRIED))
    assert not story.state.armed and Save() in story.last


def test_nothing_is_tried_while_the_intent_cannot_be_saved() -> None:
    story = found().on(LedgerFailed(UPTIME, "read-only"))
    assert not story.state.untried


def test_a_held_off_device_is_tried_when_its_hold_off_is_over() -> None:
    """A daemon that was started meanwhile has never seen it bound."""
    story = found(devices=ALL).on(FaultSeen(200, fault(device=WAN.name))).on(Converged(210))
    story.on(DevicesChanged(300, (*ALL[:2], UNTRIED[2])))
    assert Try() not in story.commands
    assert Try() in story.on(Tick(800)).last
    assert story.levels()[WAN.name] is SOFTWARE
    story.on(DevicesChanged(801, ALL))
    assert story.levels()[WAN.name] is HARDWARE and story.state.draw.canary == 16


def test_a_device_that_is_bound_stays_where_it_is_when_the_daemon_starts_again() -> None:
    devices = (ALL[0], INCAPABLE[1], UNTRIED[2])
    story = found(devices=devices)
    asked = [c for c in story.last if isinstance(c, Converge)]
    assert [dict(c.levels)[LAN1.name] for c in asked] == [HARDWARE]


def test_a_fault_during_the_trial_is_one_of_the_hardware() -> None:
    warning = fault(Attribution.OFFLOAD, WAN.name, fault_class=FaultClass.KERNEL_WARNING)
    story = found().on(FaultSeen(UPTIME + 0.1, warning))
    verdict = story.state.verdict_on(WAN.name)
    assert verdict and verdict.highest is SOFTWARE
    assert story.levels()[WAN.name] is SOFTWARE


def next_boot(story: Story, faults: tuple[Fault, ...] = ()) -> Story:
    """The one after a crash in the trial."""
    armed = story.state.armed
    boots = replace(story.state.boots, early=0)
    new = Story().on(Started(5, HARDWARE, SETTINGS, story.state.verdicts, boots))
    new.on(BootSeen(5, boots.count + 1, bool(armed), faults, armed, "6.12", "1"))
    return new.on(DevicesChanged(5, UNTRIED)).on(Tick(UPTIME))


def test_a_trial_that_crashes_with_a_trace_convicts_its_driver_and_it_is_not_tried_again() -> None:
    story = next_boot(found(), (fault(device=WAN.name),))
    assert [v.device for v in story.state.verdicts] == [WAN.name]
    assert WAN.name not in {d.name for d in story.state.untried}
    assert Try() in story.commands  # The others are.


def test_trials_that_crash_in_silence_are_unexplained_reboots() -> None:
    once = next_boot(found())
    assert once.state.boots.unknown and Try() not in once.commands
    once.on(Tick(SETTINGS.boot_delay * SETTINGS.probation))
    assert Try() in once.commands
    twice = next_boot(once)
    assert {v.device for v in twice.state.verdicts} == {d.name for d in ALL}
    assert Try() not in twice.commands


def test_a_boot_loop_ends_the_trials() -> None:
    boots = Boots(count=2, early=SETTINGS.boot_loop - 1)
    story = Story().on(Started(5, HARDWARE, SETTINGS, (), boots))
    story.on(BootSeen(5, 3, False, (), (), "", "")).on(DevicesChanged(5, UNTRIED))
    story.on(Tick(UPTIME))
    assert story.state.boots.looping and Try() not in story.commands


@given(histories())
def test_no_driver_is_bound_without_an_intent_and_none_outlasts_its_use(
    history: list[Event],
) -> None:
    """Whatever happens: what Save writes down covers each use that follows it."""
    state, written = State(), frozenset[str]()
    for event in history:
        state, commands = decide(state, event)
        for command in commands:
            if command == Save():
                written = frozenset(d.name for d in state.armed)
            if isinstance(command, Try):
                assert {d.name for d in state.untried} <= written
            if isinstance(command, Converge):
                on_hardware = {n for n, level in command.levels if level is HARDWARE}
                assert on_hardware <= written
        if isinstance(event, Converged | DevicesChanged) and state.converged and not state.in_use:
            assert not written
