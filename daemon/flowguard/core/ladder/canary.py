# SPDX-License-Identifier: GPL-2.0-or-later
"""The way back up: after a hold-off, a few flows try hardware first, then more, then all.

While a device is in its canary all new flows are drawn at the canary's share, because one
draw serves all of them. A stage ends well when it has lasted for the soak time (some faults
take hours) and the arms prove that treated flows do not fail more often.
"""

from __future__ import annotations

from flowguard.core.arms import passing
from flowguard.core.arms.draw import ENDED_CHECKPOINTS, FIRST_CHECKPOINT, OutcomeKind
from flowguard.core.arms.passing import Passing
from flowguard.core.arms.sequential_test import Counts
from flowguard.core.events import Command, FlowsJudged, Save
from flowguard.core.ladder.verdicts import note
from flowguard.core.model import Decision, Level, Verdict
from flowguard.core.records import replace
from flowguard.core.state import CANARY_PATIENCE, State

STAGES = (16, 4)  # one in so many flows
FEW = 30  # treated flows; fewer say nothing
_FIRST_AGE = {
    OutcomeKind.ANSWERED: FIRST_CHECKPOINT,
    OutcomeKind.ENDED: ENDED_CHECKPOINTS[0],
}

Step = tuple[State, list[Command]]


def first_stage(state: State) -> int:
    """The share to begin with; 0 where no arms are wanted, so that all go up at once."""
    return STAGES[0] if state.settings.control_share else 0


def expire(state: State) -> Step:
    """End hold-offs whose time has come: one rung up each time."""
    commands: list[Command] = []
    verdicts = []
    for verdict in state.verdicts:
        if verdict.highest is not Level.HARDWARE and state.is_over(verdict):
            up = Level.HARDWARE if verdict.highest is Level.SOFTWARE else Level.SOFTWARE
            verdict = replace(
                verdict,
                highest=up,
                held_until=state.time + verdict.hold,
                canary=first_stage(state) if up is Level.HARDWARE else 0,
            )
            commands.append(Save())
        verdicts.append(verdict)
    return replace(state, verdicts=tuple(verdicts)), commands[:1]


def on_judged(state: State, event: FlowsJudged) -> Step:
    """More flows came of age: count those that were born in this stage, and see."""
    if not state.draw.canary or not state.converged:
        return state, []
    main = state.detector.main
    rate = main.process.base_rate if main else Passing().rate
    tests = dict(state.canary_tests)
    for kind, age in _FIRST_AGE.items():
        for epoch, counts in _counts(state, event, kind, age):
            test = tests.get(kind, Passing())
            tests[kind] = passing.update(test, event.time, counts, epoch, rate)
    return proceed(replace(state, canary_tests=tuple(tests.items())))


def _counts(
    state: State, event: FlowsJudged, kind: OutcomeKind, age: int
) -> list[tuple[int, Counts]]:
    found: dict[int, Counts] = {}
    for row in event.outcomes:
        if row.kind is kind and row.checkpoint == age and row.epoch >= state.canary_epoch:
            found[row.epoch] = found.get(row.epoch, Counts()) + row.counts
    return sorted(found.items())


def proceed(state: State) -> Step:
    """To the next stage, where this one has been good and long enough."""
    stage = state.draw.canary
    devices = [v for v in state.verdicts if v.canary == stage and _is_tried(state, v)]
    if not stage or not devices or state.trial or not _is_good(state, devices[0]):
        return state, []
    commands: list[Command] = [Save()]
    following = STAGES[STAGES.index(stage) + 1 :] if stage in STAGES else ()
    share = following[0] if following else 0
    seen = _deciding(state).seen
    for verdict in devices:
        raised = replace(verdict, canary=share, raised=state.time)
        others = tuple(v for v in state.verdicts if v.device != verdict.device)
        state = replace(state, verdicts=(*others, raised))
        what = f"one in {share} flows" if share else "all flows"
        reason = f"canary of one in {stage} flows passed: {what} may use hardware now"
        evidence = f"failed: {seen.treated_failed} of {seen.treated} treated"
        level = state.level_of(verdict.device)
        decision = Decision(state.time, verdict.device, level, level, reason, evidence)
        state, more = note(state, decision)
        commands += more
    return state, commands


def _is_tried(state: State, verdict: Verdict) -> bool:
    return state.level_of(verdict.device) is Level.HARDWARE


def _is_good(state: State, verdict: Verdict) -> bool:
    test = _deciding(state)
    lasted = state.time - (state.time if verdict.raised is None else verdict.raised)
    soak = state.settings.canary_soak
    if test.seen.treated < FEW:
        return lasted >= soak * CANARY_PATIENCE
    return lasted >= soak and test.passed


def _deciding(state: State) -> Passing:
    """The answers, where they can be counted; else how connections ended."""
    tests = dict(state.canary_tests)
    answered = tests.get(OutcomeKind.ANSWERED, Passing())
    return answered if answered.seen.treated else tests.get(OutcomeKind.ENDED, Passing())


def draw(state: State, levels: tuple[tuple[str, Level], ...]) -> State:
    """With the share that new flows are drawn at, now that devices go to these levels."""
    on_hardware = {name for name, level in levels if level is Level.HARDWARE}
    timed = tuple(_timed(v, state.time, v.device in on_hardware) for v in state.verdicts)
    state = replace(state, verdicts=timed)
    tried = [v.canary for v in state.verdicts if v.device in on_hardware]
    stage = None if state.settings.detect_only else max(tried, default=0) or None
    if stage == state.draw.canary:
        return state
    # At another share the soak time begins anew.
    verdicts = tuple(
        replace(v, raised=state.time) if v.canary and v.device in on_hardware else v
        for v in state.verdicts
    )
    return replace(
        state,
        verdicts=verdicts,
        draw=replace(state.draw, control_share=None, canary=stage),
        canary_epoch=state.epoch + 1,
        canary_tests=(),
    )


def _timed(verdict: Verdict, now: float, on_hardware: bool) -> Verdict:
    """Only time on hardware is healthy time, and soak time of a canary."""
    goes_well = on_hardware and verdict.highest is Level.HARDWARE
    if goes_well == (verdict.raised is not None):
        return verdict
    if goes_well:
        return replace(verdict, raised=now)
    return replace(verdict, raised=None, healthy=verdict.healthy_until(now))
