# SPDX-License-Identifier: GPL-2.0-or-later
"""From the arms' outcomes to a step down, its trial, and what follows."""

from __future__ import annotations

import pytest

from flowguard.core.arms import detector
from flowguard.core.arms.detector import Detector
from flowguard.core.arms.draw import FIRST_CHECKPOINT, Births, OutcomeKind, Outcomes
from flowguard.core.arms.drops import OBSERVED_MOST, WATCHED_SECONDS
from flowguard.core.arms.sequential_test import ACT, Counts
from flowguard.core.events import (
    Converge,
    Converged,
    CrossoverSeen,
    DevicesChanged,
    DrainProgress,
    FaultSeen,
    FlowsJudged,
    Rescue,
    Save,
    Severity,
    Started,
    Tick,
)
from flowguard.core.model import (
    Attribution,
    Decision,
    Device,
    Family,
    Fault,
    FaultClass,
    Level,
    PolicySettings,
    Protocol,
)
from flowguard.core.records import replace
from flowguard.core.requests import WantedChanged
from flowguard.core.state import TRIAL_LIMIT, TRIAL_SECONDS
from tests.core.test_policy import Story

LAN1 = Device("lan1", 2, hardware_capable=True)
LAN2 = Device("lan2", 3, hardware_capable=True)
WAN = Device("wan", 4, hardware_capable=True)
HARDWARE = Level.HARDWARE
SETTINGS = PolicySettings(boot_delay=0, hold_off=600, hold_off_limit=86400, settle=30)
BAD = Counts(treated_failed=10, treated_good=0, control_failed=0, control_good=3)
GOOD = Counts(treated_failed=0, treated_good=10, control_failed=0, control_good=3)
OUTAGE = Counts(treated_failed=40, control_failed=3)

Pair = tuple[str, str]


def story(
    settings: PolicySettings = SETTINGS, devices: tuple[Device, ...] = (LAN1, LAN2, WAN)
) -> Story:
    made = Story().on(Started(100, Level.HARDWARE, settings))
    return made.on(DevicesChanged(100, devices)).on(Converged(100))


def row(
    counts: Counts,
    epoch: int,
    pair: Pair | None = ("lan1", "wan"),
    family: Family = Family.IPV4,
    protocol: Protocol = Protocol.TCP,
) -> Outcomes:
    return Outcomes(OutcomeKind.ANSWERED, FIRST_CHECKPOINT, family, protocol, pair, epoch, counts)


def judged(told: Story, *rows: Outcomes, observed: int = 100) -> Story:
    """Five seconds later these outcomes are known; what is asked of the kernel is done."""
    told.on(FlowsJudged(told.state.time + 5, rows, observed=observed))
    if not told.state.converged and not told.state.drain:
        told.on(Converged(told.state.time))
    return told


def until_the_step(told: Story, *rows: Outcomes, most: int = 60) -> Story:
    for _ in range(most):
        epoch = told.state.epoch
        judged(
            told,
            *(
                Outcomes(r.kind, r.checkpoint, r.family, r.protocol, r.pair, epoch, r.counts)
                for r in rows
            ),
        )
        if told.state.trial:
            return told
    raise AssertionError(f"no step: {told.state.detector.value}")


def drained(told: Story) -> Story:
    told.on(DrainProgress(told.state.time + 1, 0, 0))
    return told.on(Converged(told.state.time + 10))


def reasons(told: Story) -> list[str]:
    return [d.reason for d in told.state.decisions]


def last(told: Story) -> Decision:
    return told.state.decisions[-1]


def test_dropped_connections_step_down_and_are_put_on_trial() -> None:
    told = until_the_step(story(), row(BAD, 0))
    assert told.levels() == {"lan1": Level.SOFTWARE, "lan2": Level.HARDWARE, "wan": Level.SOFTWARE}
    assert Rescue(TRIAL_SECONDS) in told.last and Save() in told.last
    (decision, _) = told.decided()
    assert "connections are dropped on hardware" in decision.reason
    assert "treated" in decision.evidence and "e-value" in decision.evidence


def test_good_flows_and_outages_lead_to_nothing() -> None:
    told = story()
    for _ in range(100):
        judged(told, row(GOOD, told.state.epoch))
    for _ in range(24):
        judged(told, row(OUTAGE, told.state.epoch))
    for _ in range(100):
        judged(told, row(GOOD, told.state.epoch))
    assert told.state.detector.value < 100
    assert set(told.levels().values()) == {Level.HARDWARE}


def test_suspicion_widens_the_control_arm_and_calm_narrows_it() -> None:
    told = story()
    while told.state.draw.control_share is None:
        judged(told, row(BAD, told.state.epoch))
        assert told.state.detector.value < ACT
    widened = [c for c in told.commands if isinstance(c, Converge)][-1]
    assert widened.draw.control_share == 2
    assert widened.levels == told.state.levels
    before = told.state.epoch
    for _ in range(200):
        judged(told, row(GOOD, told.state.epoch))
    assert told.state.draw.control_share is None
    assert told.state.epoch == before + 1


def test_very_many_flows_are_thinned_out_and_few_are_not() -> None:
    told = judged(story(), observed=OBSERVED_MOST + 1)
    assert told.state.draw.observe_share == 4
    after_a_while(told, observed=1000)
    assert told.state.draw.observe_share == 4
    after_a_while(told, observed=12000)
    assert told.state.draw.observe_share == 16
    after_a_while(told, observed=100)
    assert told.state.draw.observe_share == 1


def test_a_share_of_observed_flows_is_kept_until_its_effect_shows() -> None:
    told = story()
    for _ in range(20):
        judged(told, observed=12000)
    assert told.state.draw.observe_share == 4
    assert told.state.epoch == story().state.epoch + 1


def after_a_while(told: Story, observed: int) -> None:
    told.on(Tick(told.state.time + WATCHED_SECONDS))
    judged(told, observed=observed)


def test_outcomes_of_an_earlier_comparison_do_not_count() -> None:
    told = story()
    for _ in range(60):
        judged(told, row(BAD, told.state.compared_since - 1))
    assert told.state.detector.value == 0


@pytest.mark.parametrize(
    ("bad", "good", "stepped"),
    [
        (("lan1", "wan"), ("lan2", "wan"), {"lan1"}),
        (("lan2", "wan"), ("lan1", "wan"), {"lan2"}),
        (("lan1", "wan"), ("lan1", "lan2"), {"wan"}),
    ],
)
def test_the_device_that_only_the_struck_pair_has_is_named(
    bad: Pair, good: Pair, stepped: set[str]
) -> None:
    told = until_the_step(story(), row(BAD, 0, bad), row(GOOD, 0, good))
    assert {n for n, level in told.levels().items() if level is Level.SOFTWARE} == stepped
    assert "-".join(bad) in reasons(told)[-1]


def test_a_struck_bridge_steps_down_its_ports() -> None:
    ports = tuple(
        Device(n, i, hardware_capable=True, forward_names=(n, "br-lan"))
        for i, n in enumerate(("lan1", "lan2"))
    )
    told = until_the_step(story(devices=(*ports, WAN)), row(BAD, 0, ("br-lan", "wan")))
    assert set(told.levels().values()) == {Level.SOFTWARE}


def test_family_and_protocol_are_named_when_the_others_are_spared() -> None:
    told = until_the_step(
        story(),
        row(BAD, 0, family=Family.IPV6),
        row(GOOD, 0),
        row(GOOD, 0, protocol=Protocol.UDP),
    )
    assert "ipv6" in reasons(told)[-1]
    told = until_the_step(story(), row(BAD, 0, protocol=Protocol.UDP), row(GOOD, 0))
    assert "udp" in reasons(told)[-1]


def test_who_is_hit_is_read_from_the_outcomes_that_prove_it() -> None:
    ends = Counts(treated_failed=8, treated_good=12, control_failed=2, control_good=3)
    late = Outcomes(OutcomeKind.ENDED, 60, Family.IPV4, Protocol.TCP, ("lan1", "wan"), 0, ends)
    told = until_the_step(story(), row(BAD, 0, family=Family.IPV6), row(GOOD, 0), late)
    assert "ipv6" in reasons(told)[-1]


@pytest.mark.parametrize(
    ("failed", "good", "spared", "named"),
    [
        (5, 5, 10, True),
        (3, 7, 30, False),  # Three failures may be chance.
        (5, 95, 30, False),  # Of thirty one or two should have failed: none may be chance.
        (5, 95, 200, True),
    ],
)
def test_few_failures_name_nobody(failed: int, good: int, spared: int, named: bool) -> None:
    hit, other = ("lan1", "wan"), ("lan2", "wan")
    rows = [row(Counts(failed, good), 0, hit), row(Counts(0, spared), 0, other)]
    blame = detector.blame(detector.judge(Detector(), 100.0, rows, ()))
    assert blame.pairs == ((hit,) if named else ())


def test_revived_flows_convict() -> None:
    told = drained(until_the_step(story(), row(BAD, 0)))
    told.on(CrossoverSeen(told.state.time + 3, stalled=10, revived=1, trying=9))
    assert told.state.trial
    told.on(CrossoverSeen(told.state.time + 3, stalled=10, revived=6, trying=4))
    assert not told.state.trial
    assert last(told).reason.startswith("convicted: 6 of 10")
    verdict = told.state.verdict_on("wan")
    assert verdict and verdict.highest is Level.SOFTWARE and verdict.strikes == 1
    assert told.levels()["wan"] is Level.SOFTWARE


def exonerated(told: Story) -> Story:
    drained(until_the_step(told, row(BAD, 0)))
    at = told.state.time + TRIAL_SECONDS
    return told.on(CrossoverSeen(at, stalled=10, revived=0, trying=8, ended=True))


def test_flows_that_try_in_vain_exonerate_and_lead_back_up() -> None:
    told = exonerated(story())
    assert set(told.levels().values()) == {Level.HARDWARE}
    assert any(r.startswith("exonerated") for r in reasons(told))
    assert told.state.verdict_on("wan") is None
    assert Save() in told.last
    told.on(Converged(told.state.time))
    for _ in range(60):
        judged(told, row(BAD, told.state.epoch))
    assert set(told.levels().values()) == {Level.HARDWARE}


def test_the_silence_after_an_exoneration_doubles() -> None:
    told = exonerated(story())
    first = told.state.mute.until - told.state.time
    assert first == SETTINGS.hold_off
    told.on(Tick(told.state.mute.until)).on(Converged(told.state.mute.until))
    exonerated(told)
    assert told.state.mute.until - told.state.time == 2 * first


def test_an_exoneration_brings_no_dead_engine_back() -> None:
    told = until_the_step(story(), row(BAD, 0))
    dead = Fault("r", FaultClass.DMA_OR_MEMORY, Attribution.DRIVER, "wan", None, "reset failed")
    told.on(FaultSeen(told.state.time + 1, replace(dead, power_cycle=True)))
    drained(told).on(CrossoverSeen(told.state.time + TRIAL_SECONDS, 20, 0, 20, ended=True))
    assert any(r.startswith("exonerated") for r in reasons(told))
    assert told.levels() == {"lan1": HARDWARE, "lan2": HARDWARE, "wan": Level.SOFTWARE}


def test_an_exoneration_puts_an_older_verdict_back() -> None:
    told = drained(until_the_step(story(), row(BAD, 0)))
    told.on(CrossoverSeen(told.state.time + 3, stalled=4, revived=4, trying=0))
    former = told.state.verdict_on("wan")
    assert former
    told.on(Tick(former.held_until)).on(Converged(former.held_until + 1))
    over = told.state.verdict_on("wan")
    exonerated(told)
    back = told.state.verdict_on("wan")
    # Its canary is where it was; the stage begins anew.
    assert over and back == replace(over, raised=told.state.time)


@pytest.mark.parametrize(
    "seen",
    [
        CrossoverSeen(0, stalled=0, revived=0, trying=0, ended=True),
        CrossoverSeen(0, stalled=9, revived=0, trying=3, ended=True),
        CrossoverSeen(0, stalled=9, revived=1, trying=2, ended=True),
        CrossoverSeen(0, stalled=9, revived=3, trying=5, ended=True),
    ],
)
def test_too_few_or_mixed_flows_leave_the_conviction(seen: CrossoverSeen) -> None:
    told = drained(until_the_step(story(), row(BAD, 0)))
    at = told.state.time + TRIAL_SECONDS
    told.on(CrossoverSeen(at, seen.stalled, seen.revived, seen.trying, ended=True))
    assert last(told).reason.startswith("convicted by the arms alone")
    assert told.levels()["wan"] is Level.SOFTWARE


def unproven(told: Story) -> Story:
    drained(until_the_step(told, row(BAD, 0)))
    at = told.state.time + TRIAL_SECONDS
    return told.on(CrossoverSeen(at, stalled=9, revived=1, trying=2, ended=True))


def test_the_same_trouble_one_level_down_exonerates_what_was_not_proven() -> None:
    told = unproven(story(devices=(LAN1, WAN)))
    assert set(told.levels().values()) == {Level.SOFTWARE}
    for _ in range(10):
        judged(told, row(BAD, told.state.epoch))
    assert set(told.levels().values()) == {Level.HARDWARE}
    assert any("dropped on software as well" in r for r in reasons(told))
    assert Level.NONE not in {d.after for d in told.state.decisions}


def test_a_proven_fault_of_hardware_does_not_excuse_software() -> None:
    told = drained(until_the_step(story(devices=(LAN1, WAN)), row(BAD, 0)))
    told.on(CrossoverSeen(told.state.time + 3, stalled=4, revived=4, trying=0))
    until_the_step(told, row(BAD, 0))
    assert set(told.levels().values()) == {Level.NONE}


def test_a_hold_off_does_not_end_before_its_trial() -> None:
    told = drained(until_the_step(story(replace(SETTINGS, hold_off=20)), row(BAD, 0)))
    told.on(Tick(told.state.time + 60))
    assert told.state.trial and told.levels()["wan"] is Level.SOFTWARE
    told.on(CrossoverSeen(told.state.time + 1, stalled=4, revived=4, trying=0))
    told.on(Tick(told.state.time + 1))
    assert told.levels()["wan"] is Level.HARDWARE


def test_a_change_of_levels_begins_the_evidence_anew() -> None:
    told = story()
    for _ in range(2):
        judged(told, row(BAD, told.state.epoch))
    assert told.state.detector.value > 0
    before = told.state.epoch
    told.on(WantedChanged(told.state.time, Level.SOFTWARE)).on(Converged(told.state.time))
    assert told.state.detector.value == 0
    for _ in range(60):
        judged(told, row(BAD, before))
    assert told.state.detector.value == 0


def restarted(told: Story, settings: PolicySettings = SETTINGS, wanted: Level = HARDWARE) -> Story:
    """The daemon after this one, in the same boot and with what this one left to it."""
    state = told.state
    start = Started(
        state.time + 1, wanted, settings, state.verdicts, armed=state.armed, evidence=state.evidence
    )
    made = Story().on(start).on(DevicesChanged(start.time, state.devices))
    return made.on(Converged(start.time))


def test_a_restart_goes_on_with_the_evidence() -> None:
    told = story()
    for _ in range(2):
        judged(told, row(BAD, told.state.epoch))
    found = told.state.detector.value
    later = restarted(told)
    assert later.state.detector.value == found > 0
    # The same connections convict sooner than they would after a fresh start.
    assert steps_until_trial(later) < steps_until_trial(story())


def steps_until_trial(told: Story) -> float:
    began = told.state.time
    return until_the_step(told, row(BAD, 0)).state.time - began


def test_a_restart_on_other_levels_begins_the_evidence_anew() -> None:
    told = story()
    for _ in range(2):
        judged(told, row(BAD, told.state.epoch))
    assert restarted(told, wanted=Level.SOFTWARE).state.detector.value == 0


def test_a_restart_does_not_unmute_the_arms() -> None:
    told = drained(until_the_step(story(), row(BAD, 0)))
    told.on(CrossoverSeen(told.state.time + 1, stalled=8, revived=0, trying=8, ended=True))
    told.on(Converged(told.state.time))
    assert told.state.mute.exonerations == 1
    later = restarted(told)
    with pytest.raises(AssertionError, match="no step"):
        until_the_step(later, row(BAD, 0))


def test_a_trial_that_nobody_watches_ends_by_itself() -> None:
    told = drained(until_the_step(story(), row(BAD, 0)))
    deadline = told.state.next_deadline()
    assert told.state.trial and deadline == told.state.trial.since + TRIAL_LIMIT
    told.on(Tick(deadline))
    assert not told.state.trial
    assert told.levels()["wan"] is Level.SOFTWARE


def test_nothing_steps_further_while_the_trial_is_open() -> None:
    told = drained(until_the_step(story(devices=(LAN1, WAN)), row(BAD, 0)))
    for _ in range(20):
        judged(told, row(BAD, told.state.epoch))
    assert set(told.levels().values()) == {Level.SOFTWARE}


def test_software_is_compared_with_none_in_the_same_way() -> None:
    devices = tuple(Device(n, i, hardware_capable=False) for i, n in enumerate(("lan1", "wan")))
    told = until_the_step(story(devices=devices), row(BAD, 0))
    assert set(told.levels().values()) == {Level.NONE}


def test_detect_only_reports_and_moves_nothing() -> None:
    settings = PolicySettings(boot_delay=0, detect_only=True)
    told = story(settings)
    for _ in range(40):
        judged(told, row(BAD, told.state.epoch))
    assert set(told.levels().values()) == {Level.HARDWARE}
    assert not told.state.trial
    would = [d for d in told.state.decisions if "detect-only: would step down" in d.reason]
    assert {d.device for d in would} == {"lan1", "wan"}
    assert len(would) == 2  # Said once, not every five seconds.


def test_arms_that_are_not_drawn_in_their_share_are_not_judged() -> None:
    told = story()
    epoch = told.state.epoch
    births = Births(epoch, 16, treated=500, control=500)
    told.on(FlowsJudged(told.state.time + 5, (), (births,)))
    assert told.notes(Severity.ERROR)
    for _ in range(60):
        judged(told, row(BAD, told.state.epoch))
    assert set(told.levels().values()) == {Level.HARDWARE}
