# SPDX-License-Identifier: GPL-2.0-or-later
"""A look at the engine that crashes the kernel shuts the eye and convicts nobody."""

from __future__ import annotations

from flowguard.core.events import (
    BootSeen,
    DevicesChanged,
    FaultSeen,
    LookBegun,
    LookEnded,
    Save,
    Severity,
    Started,
    Tick,
)
from flowguard.core.model import Attribution, Boots, Fault, FaultClass, Level, ShutEye
from flowguard.core.records import replace
from flowguard.core.requests import ForgetAsked, PlannedEnd
from tests.core.test_policy import ALL, SETTINGS, Story, fault, started

OOPS = FaultClass.KERNEL_OOPS
OFFLOAD, WEAK = Attribution.OFFLOAD, Attribution.WEAK
BY_LOOK = replace(fault(OFFLOAD, rule="page-fault", fault_class=OOPS), by_look=True, because="show")
FORMER = Boots(count=7, kernel="6.6.93", flowguard="1")


def after_reboot(
    *faults: Fault,
    looking: bool = True,
    crash: str = "",
    kernel: str = "6.6.93",
    unplanned: bool = True,
) -> Story:
    """The boot before ended unplanned with hardware on, in the first look or some time later."""
    story = Story().on(Started(5, Level.HARDWARE, SETTINGS, (), FORMER))
    seen = BootSeen(5, 8, unplanned, faults, ALL, kernel, "1", crash, looking=looking)
    return story.on(seen).on(DevicesChanged(5, ALL)).on(Tick(60))


def shut_on(story: Story) -> str:
    return story.state.shut_eye.kernel if story.state.shut_eye else ""


def is_innocent(story: Story) -> bool:
    on_hardware = set(story.levels().values()) == {Level.HARDWARE}
    return on_hardware and not story.state.verdicts and not story.state.boots.unknown


def test_a_look_that_a_planned_end_broke_off_shuts_nothing() -> None:
    assert shut_on(after_reboot()) == "6.6.93"
    assert shut_on(after_reboot(unplanned=False)) == ""


def test_a_look_is_written_down_before_it_begins_and_when_it_has_ended() -> None:
    story = started().on(LookBegun(200))
    assert story.last == [Save()] and story.state.looking
    assert story.on(LookBegun(201)).last == []
    assert story.on(LookEnded(202)).last == [Save()] and not story.state.looking
    assert story.on(LookEnded(203)).last == []


def test_a_planned_end_in_the_midst_of_it_is_no_crash() -> None:
    story = started().on(LookBegun(200)).on(PlannedEnd(201))
    assert not story.state.looking and Save() in story.last


def test_a_silent_reboot_in_the_first_look_is_blamed_on_that() -> None:
    story = after_reboot()
    assert shut_on(story) == "6.6.93"
    assert is_innocent(story)
    assert "a look at the engine's table" in story.state.boots.evidence


def test_a_nameless_trace_in_the_first_look_is_blamed_on_that_as_well() -> None:
    story = after_reboot(fault(WEAK, fault_class=OOPS), crash="Oops")
    assert shut_on(story) and is_innocent(story)


def test_without_a_look_a_silent_reboot_is_suspicious_as_ever() -> None:
    story = after_reboot(looking=False)
    assert not shut_on(story)
    assert story.state.boots.unknown == (8,)


def test_a_trace_of_a_look_tells_it_whenever_it_was() -> None:
    story = after_reboot(BY_LOOK, looking=False, crash="Oops")
    assert shut_on(story) and is_innocent(story)
    assert "show" in story.state.boots.evidence


def test_a_trace_that_accuses_somebody_else_counts_and_the_eye_stays_open() -> None:
    story = after_reboot(fault(OFFLOAD, rule="oops", fault_class=OOPS), crash="Oops")
    assert not shut_on(story)
    assert {v.device for v in story.state.verdicts} == {d.name for d in ALL}


def test_a_crash_of_something_unrelated_is_not_the_looks_doing() -> None:
    story = after_reboot(crash="Kernel panic: VFS")
    assert not shut_on(story) and is_innocent(story)


def test_a_fault_of_a_look_that_the_kernel_survives_moves_nothing() -> None:
    story = started()
    story.state = replace(story.state, boots=FORMER)
    story.on(FaultSeen(200, BY_LOOK))
    assert shut_on(story) == "6.6.93"
    assert Save() in story.last and len(story.notes(Severity.WARNING)) == 1
    assert is_innocent(story)
    assert story.on(FaultSeen(300, BY_LOOK)).last == []


def test_one_kernel_is_remembered_and_it_survives_another_one() -> None:
    shut = ShutEye("6.6.93", "line")
    story = Story().on(Started(5, Level.HARDWARE, SETTINGS, (), FORMER, shut_eye=shut))
    story.on(BootSeen(5, 8, False, (), (), "6.6.94", "1"))
    assert shut_on(story) == "6.6.93"
    story.on(FaultSeen(200, BY_LOOK))
    assert shut_on(story) == "6.6.94"


def test_whoever_forgets_all_looks_again() -> None:
    story = after_reboot()
    assert shut_on(story.on(ForgetAsked(100, "wan")))
    story.on(ForgetAsked(101, None))
    assert not shut_on(story) and Save() in story.last
