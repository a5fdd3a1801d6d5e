# SPDX-License-Identifier: GPL-2.0-or-later
"""What the policy makes of reboots, and what it writes down before the next one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.events import (
    BootSeen,
    Converge,
    Converged,
    ConvergeFailed,
    Decided,
    DevicesChanged,
    FaultSeen,
    LedgerFailed,
    LedgerKept,
    Save,
    Severity,
    Started,
    Tick,
)
from flowguard.core.model import Attribution, Boots, Fault, FaultClass, Level, Verdict
from flowguard.core.records import replace
from flowguard.core.requests import (
    EndAbandoned,
    EndAsked,
    PlannedEnd,
    RetryAsked,
    SuspendAsked,
    WantedChanged,
)
from tests.core.test_policy import ALL, LAN1, LAN2, SETTINGS, WAN, Story, fault

OOPS = FaultClass.KERNEL_OOPS
HARDWARE = Level.HARDWARE


def boot(
    story: Story | None = None,
    unplanned: bool = False,
    faults: tuple[Fault, ...] = (),
    kernel: str = "6.12",
    time: float = 5,
    crash: str = "",
) -> Story:
    """The next boot, with what the boot before (`story`) remembers."""
    boots = story.state.boots if story else Boots()
    verdicts: tuple[Verdict, ...] = story.state.verdicts if story else ()
    verdicts = tuple(replace(v, stepped=-100, held_until=time + v.hold) for v in verdicts)
    new = Story().on(Started(time, HARDWARE, SETTINGS, verdicts, boots))
    new.on(BootSeen(time, boots.count + 1, unplanned, faults, ALL, kernel, "1", crash))
    new.commands = list(new.last)
    return new.on(DevicesChanged(time, ALL))


def lived(story: Story) -> Story:
    return story.on(Tick(SETTINGS.boot_settle)).on(Converged(SETTINGS.boot_settle))


def test_the_intent_is_saved_before_hardware_is_asked_for() -> None:
    story = boot().on(Tick(31))
    kinds = [type(c) for c in story.last]
    assert kinds.index(Save) < kinds.index(Converge)
    assert story.state.armed == ALL


def test_the_intent_is_cleared_when_hardware_is_empty() -> None:
    story = boot().on(Tick(31)).on(Converged(32)).on(WantedChanged(40, Level.SOFTWARE))
    assert story.state.armed == ALL
    story.on(Converged(50))
    assert not story.state.armed and Save() in story.last


def on(level: Level) -> tuple[tuple[str, Level], ...]:
    return tuple((device.name, level) for device in ALL)


def in_hardware() -> Story:
    return boot().on(Tick(31)).on(Converged(32, on(HARDWARE)))


def ends(story: Story, time: float, leave: Level = Level.SOFTWARE) -> Story:
    """Somebody wants the daemon to end, as planned."""
    story.on(EndAsked(time, leave)).on(PlannedEnd(time))
    assert not story.state.armed
    return story


def test_what_could_not_be_drained_keeps_the_intent() -> None:
    story = in_hardware().on(WantedChanged(40, Level.SOFTWARE))
    story.on(Converged(100, on(Level.SOFTWARE), ("wan",)))
    assert story.state.armed == ALL
    story.on(Converged(800, on(Level.SOFTWARE)))
    assert not story.state.armed


def test_an_end_that_does_not_come_arms_what_the_kernel_would_not_let_go() -> None:
    story = in_hardware().on(WantedChanged(40, Level.SOFTWARE))
    story.on(ConvergeFailed(41, "busy", None, on(HARDWARE)))
    ends(story, 42).on(EndAbandoned(72))
    assert story.state.armed == ALL and Save() in story.last


def test_an_end_that_does_not_come_arms_what_is_parked() -> None:
    story = in_hardware().on(WantedChanged(40, Level.SOFTWARE))
    story.on(Converged(100, on(Level.SOFTWARE), ("wan",)))
    ends(story, 110).on(EndAbandoned(140))
    assert story.state.armed == (WAN,) and Save() in story.last


def test_an_end_that_does_not_come_arms_nothing_that_is_not_in_use() -> None:
    story = in_hardware().on(WantedChanged(40, Level.SOFTWARE))
    story.on(Converged(50, on(Level.SOFTWARE)))
    assert not ends(story, 60).on(EndAbandoned(90)).state.armed


def test_what_a_failed_release_interrupted_is_asked_for_again() -> None:
    story = in_hardware().on(SuspendAsked(40, suspended=True))
    ends(story, 41, Level.NONE).on(EndAbandoned(60))
    (asked,) = [c for c in story.last if isinstance(c, Converge)]
    assert dict(asked.levels) == dict(on(Level.NONE))


def test_an_offload_trace_convicts_the_named_device_at_once() -> None:
    trace = fault(Attribution.OFFLOAD, "wan", rule="oops", fault_class=OOPS)
    story = boot(lived(boot()), True, (trace, trace)).on(Tick(31))
    assert story.levels() == {"lan1": HARDWARE, "lan2": HARDWARE, "wan": Level.SOFTWARE}
    verdict = story.state.verdict_on("wan")
    assert verdict and verdict.strikes == 1 and verdict.evidence == trace.line
    assert trace.line in story.state.boots.evidence


def test_a_driver_trace_convicts_every_device_of_the_driver() -> None:
    story = boot(lived(boot()), True, (fault(driver="mtk_soc_eth"),))
    assert {v.device for v in story.state.verdicts} == {LAN1.name, LAN2.name}


def test_an_unrelated_panic_acquits() -> None:
    story = boot(lived(boot()), True, crash="Kernel panic: VFS").on(Tick(31))
    assert story.state.target is HARDWARE and not story.state.boots.unknown
    assert story.state.boots.evidence == "Kernel panic: VFS"


def test_a_weak_fault_neither_convicts_nor_clears() -> None:
    trace = fault(Attribution.WEAK, fault_class=OOPS)
    story = boot(lived(boot()), True, (trace,), crash="Kernel panic")
    assert story.state.boots.unknown == (2,) and not story.state.verdicts


def test_a_crash_with_hardware_not_in_use_is_shown_and_blamed_on_nobody() -> None:
    trace = fault(Attribution.OFFLOAD, "wan", rule="oops", fault_class=OOPS)
    story = boot(lived(boot()), False, (trace,), crash="Oops").on(Tick(31))
    assert story.state.target is HARDWARE and not story.state.verdicts
    assert story.state.boots.evidence == "Oops" and not story.state.boots.unplanned


def test_the_first_unexplained_reboot_is_a_longer_probation() -> None:
    story = boot(lived(boot()), True).on(Tick(31))
    assert story.state.target is Level.SOFTWARE and not story.state.verdicts
    assert story.on(Tick(SETTINGS.boot_delay * 10)).state.target is HARDWARE


def test_the_second_within_the_window_holds_off_and_the_third_longer() -> None:
    second = boot(lived(boot(lived(boot()), True)), True)
    assert {v.hold for v in second.state.verdicts} == {SETTINGS.hold_off}
    third = boot(lived(second), True)
    assert {v.hold for v in third.state.verdicts} == {2 * SETTINGS.hold_off}


def test_an_unexplained_reboot_long_ago_counts_no_more() -> None:
    story = lived(boot(lived(boot()), True))
    for _ in range(SETTINGS.blame_boots):
        story = lived(boot(story))
    assert not boot(story, True).state.verdicts


def test_the_third_short_boot_offloads_nothing_and_says_so() -> None:
    story = boot(boot(boot()))
    assert "nothing is offloaded" in str(story.commands)
    assert story.state.target is Level.NONE
    assert lived(story).state.target is Level.NONE
    assert boot(story).on(Tick(31)).state.target is HARDWARE


def test_a_new_kernel_is_forgiven_and_that_is_said() -> None:
    held = boot(lived(boot()), True, (fault(device=WAN.name),))
    story = boot(lived(held), True, kernel="6.18")
    assert not story.state.verdicts and not story.state.boots.unknown
    assert "6.12 -> 6.18" in str(story.commands)
    assert Severity.INFO in [getattr(c, "severity", None) for c in story.commands]


def test_without_a_ledger_there_is_no_hardware() -> None:
    story = boot().on(LedgerFailed(6, "read-only")).on(Tick(31))
    assert story.state.target is Level.SOFTWARE


def test_what_is_lost_costs_hardware_for_this_boot_only() -> None:
    story = boot().on(LedgerFailed(6, "not JSON; kept aside", lost=True)).on(LedgerKept(7))
    assert story.on(Tick(5000)).state.target is Level.SOFTWARE
    assert boot(story).on(Tick(31)).state.target is HARDWARE
    assert story.on(RetryAsked(5001)).state.target is HARDWARE


def test_a_medium_that_refused_is_tried_again_and_hardware_comes_back() -> None:
    story = boot().on(LedgerFailed(6, "disk full")).on(Tick(31))
    due = story.state.next_deadline()
    while due is not None and Save() not in story.on(Tick(due)).last:
        due = story.state.next_deadline()
    assert due is not None and due < 1000 and story.state.target is Level.SOFTWARE
    assert story.on(LedgerKept(due)).state.target is HARDWARE
    assert story.state.armed == ALL and Save() in story.last


def test_a_planned_end_leaves_no_intent_and_breaks_the_row_of_short_boots() -> None:
    story = boot(boot().on(Tick(31))).on(Tick(31)).on(PlannedEnd(60))
    assert not story.state.armed and not story.state.boots.early and Save() in story.last
    assert not boot(boot(story)).state.boots.looping


def test_a_planned_end_soon_after_a_change_leaves_no_intent_either() -> None:
    story = boot().on(Tick(31)).on(DevicesChanged(50, ALL[:2])).on(PlannedEnd(55))
    assert not story.state.armed and story.last == [Save()]


def test_the_first_use_of_hardware_waits_for_quiet() -> None:
    story = boot().on(DevicesChanged(28, ALL[:2])).on(Tick(31))
    assert story.state.target is Level.SOFTWARE
    assert story.on(Tick(38)).state.target is HARDWARE
    story.on(DevicesChanged(50, ALL))
    assert set(story.levels().values()) == {HARDWARE}


def test_a_quiet_month_writes_three_times() -> None:
    """The boot, the intent, and that the boot lived; nothing by the clock."""
    story = lived(boot().on(Tick(31)))
    for hour in range(1, 24 * 30):
        story.on(Tick(hour * 3600))
    assert story.commands.count(Save()) == 3


def test_a_month_with_troubles_writes_at_most_twice_for_each_change_of_a_level() -> None:
    """Every other day a port fails, is held off, tries again as a canary and passes."""
    story = lived(boot().on(Tick(31)))
    for day in range(1, 30):
        for second in range(0, 86400, 1200):
            story.on(Tick(day * 86400 + second))
            if day % 2 and second == 6000:
                story.on(FaultSeen(day * 86400 + second, fault(device=WAN.name)))
            if not story.state.converged:
                story.on(Converged(story.state.time))
    moves = [c.decision for c in story.commands if isinstance(c, Decided)]
    changes = sum(d.before is not d.after for d in moves)
    stages = sum("canary" in d.reason for d in moves)
    assert changes > 30 and stages > 0
    assert story.commands.count(Save()) <= 3 + 2 * (changes + stages)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12))
def test_hardware_never_comes_before_boot_delay_nor_without_intent(
    history: list[tuple[bool, bool]],
) -> None:
    story = None
    for unplanned, lives in history:
        story = boot(story, unplanned)
        assert story.state.target is not HARDWARE
        story.on(Tick(31))
        on_hardware = {n for n, level in story.levels().items() if level is HARDWARE}
        assert on_hardware <= {d.name for d in story.state.armed}
        if lives:
            lived(story)
