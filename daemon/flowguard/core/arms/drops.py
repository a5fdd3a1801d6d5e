# SPDX-License-Identifier: GPL-2.0-or-later
"""Dropped connections: from the arms' evidence to a step down, and whether it was right.

Falling back is cheap and safe, so the evidence is acted on at once and proven afterwards:
if the stalled flows revive one level down, the devices are convicted; if they go on trying
in vain, the trouble is not the offloading's, and the devices go back up.
"""

from __future__ import annotations

from flowguard.core.arms import detector
from flowguard.core.arms.detector import Mute
from flowguard.core.arms.draw import Draw
from flowguard.core.arms.sequential_test import ACT, RELAX, SUSPECT
from flowguard.core.events import (
    Command,
    CrossoverSeen,
    FlowsJudged,
    Notify,
    Rescue,
    Save,
    Severity,
)
from flowguard.core.ladder.verdicts import convict, note
from flowguard.core.model import Decision, Level
from flowguard.core.records import replace
from flowguard.core.state import TRIAL_LIMIT, TRIAL_SECONDS, State, Trial

RULE = "dropped-connections"
WIDE_SHARE = 2
# So many observed flows are enough; a look at more of them would only cost more.
OBSERVED_MOST = 6000
# A flow is watched for so long (seconds), so it takes that long until another share shows.
WATCHED_SECONDS = 240.0
OBSERVE_SHARE_MOST = 1024
THINNING = 4
# The evidence of the crossover: too few flows, or a mixed picture, leave the conviction.
REVIVED_ENOUGH = 3
TRYING_ENOUGH = 4

Step = tuple[State, list[Command]]


def on_judged(state: State, event: FlowsJudged) -> Step:
    """More flows came of age: weigh them, and act when that is enough."""
    broken = state.detector.share.broken
    since = state.compared_since
    state = replace(
        state,
        detector=detector.judge(
            state.detector,
            event.time,
            [o for o in event.outcomes if o.epoch >= since],
            [b for b in event.births if b.epoch >= since],
        ),
        observed=event.observed,
    )
    commands: list[Command] = []
    if state.detector.share.broken and not broken:
        text = "the arms are not kept apart: another program takes flows of the control arm"
        commands.append(Notify(Severity.ERROR, f"{text}; dropped connections are not judged"))
    draw = _next_draw(state)
    thinned = state.thinned if draw.observe_share == state.draw.observe_share else state.time
    state = replace(state, draw=draw, thinned=thinned)
    if state.detector.value >= ACT and _may_act(state):
        state, more = _act(state)
        commands += more
    return state, commands


def _next_draw(state: State) -> Draw:
    """Suspicion widens the control arm; very many flows thin out those that are watched."""
    suspicion, draw = state.detector.suspicion, state.draw
    wide = draw.control_share is not None
    if _is_silent(state) or draw.canary:
        wide = False
    elif suspicion >= SUSPECT:
        wide = True
    elif suspicion < RELAX:
        wide = False
    widened = min(WIDE_SHARE, state.settings.control_share) if wide else None
    share = _next_observe_share(state)
    return replace(draw, control_share=widened, observe_share=share)


def _next_observe_share(state: State) -> int:
    share = state.draw.observe_share
    fits = OBSERVED_MOST / THINNING**2 <= state.observed <= OBSERVED_MOST
    if fits or state.time < state.thinned + WATCHED_SECONDS:
        return share
    next_share, unthinned = 1, state.observed * share
    while unthinned > OBSERVED_MOST * next_share and next_share < OBSERVE_SHARE_MOST:
        next_share *= THINNING
    return next_share


def _is_silent(state: State) -> bool:
    return state.time < state.mute.until or state.detector.share.broken


def _may_act(state: State) -> bool:
    settled = state.converged and state.drain is None and state.trial is None
    return settled and not _is_silent(state)


def _act(state: State) -> Step:
    """Step down what the evidence names; the trial that follows says whether that helped."""
    level = state.target
    blame = detector.blame(state.detector)
    standing = [name for name, at in state.levels if at is level and level is not Level.NONE]
    devices = [n for n in standing if blame.devices is None or _is_named(state, n, blame.devices)]
    devices = devices or standing
    if not devices:
        return state, []
    if state.unproven and _is_held(state, state.unproven):
        # One level down it is the same: what was not proven then was not the level above's.
        return _exonerate(state, state.unproven, f"connections are dropped on {level} as well")
    reason, evidence = f"connections are dropped on {level}", _in_words(state, blame)
    if str(blame):
        reason += f" ({blame})"
    former = tuple(v for v in state.verdicts if v.device in devices)
    commands: list[Command] = []
    for name in devices:
        state, more = convict(state, name, level.below, reason, RULE, evidence)
        commands += more
    if state.settings.detect_only:
        return silence(state), commands
    trial = Trial(state.time, tuple(devices), former, evidence)
    return replace(state, trial=trial), [*commands, Rescue(TRIAL_SECONDS)]


def _is_named(state: State, name: str, named: frozenset[str]) -> bool:
    """Whether the evidence names the device, or a bridge or VLAN above it."""
    device = next((d for d in state.devices if d.name == name), None)
    return name in named or (device is not None and bool(named & {*device.forward_names}))


def _in_words(state: State, blame: detector.Blame) -> str:
    main = state.detector.main
    text = f"e-value {state.detector.value:.3g}"
    if main:
        seen = main.process.seen
        text += (
            f"; failed: {seen.treated_failed} of {seen.treated} treated,"
            f" {seen.control_failed} of {seen.control} control"
        )
    hit = [
        f"{r.scope} {r.rate:.0%}"
        for r in state.detector.telling
        if r.scope.pair in blame.pairs or r.scope.family or r.scope.protocol
    ]
    return f"{text}; lately failed: {', '.join(hit)}" if hit else text


def silence(state: State) -> State:
    """No judgement by the arms for a hold-off, twice as long each time, and a fresh start."""
    count = state.mute.exonerations + 1
    settings = state.settings
    wait = min(settings.hold_off * 2 ** min(count - 1, 32), settings.hold_off_limit)
    return replace(
        state,
        detector=detector.reset(state.detector),
        draw=replace(state.draw, control_share=None),
        mute=Mute(state.time + wait, count),
    )


def on_crossover(state: State, event: CrossoverSeen) -> Step:
    """Another look at the flows that were stalled at the step."""
    if state.trial is None:
        return state, []
    trial = replace(state.trial, stalled=event.stalled, revived=event.revived, trying=event.trying)
    state = replace(state, trial=trial)
    if event.revived >= max(REVIVED_ENOUGH, event.stalled / 2):
        state = replace(state, unproven=None)
        return _end(state, f"convicted: {_count(trial)} are answered again")
    if not event.ended:
        return state, []
    if event.trying >= TRYING_ENOUGH and event.revived < (event.trying + event.revived) / 4:
        why = f"{_count(trial)} are answered again, {trial.trying} go on trying in vain"
        return _exonerate(state, trial, why)
    state = replace(state, unproven=trial)
    return _end(state, f"convicted by the arms alone: {_count(trial)} are answered again")


def overdue(state: State) -> Step:
    """Nobody said what became of the stalled flows: the arms' evidence stands."""
    if state.trial is None or state.time < state.trial.since + TRIAL_LIMIT:
        return state, []
    state = replace(state, unproven=state.trial)
    return _end(state, "convicted by the arms alone: the stalled connections were not watched")


def _count(trial: Trial) -> str:
    return f"{trial.revived} of {trial.stalled} stalled connections"


def _end(state: State, reason: str) -> Step:
    trial = state.trial
    assert trial is not None
    return _note_for_all(replace(state, trial=None), trial, reason)


def _is_held(state: State, trial: Trial) -> bool:
    """Whether a device of the trial is still down because of it."""
    verdicts = [state.verdict_on(name) for name in trial.devices]
    return any(v is not None and v.rule == RULE and state.holds(v) for v in verdicts)


def _exonerate(state: State, trial: Trial, why: str) -> Step:
    """The trouble went on below: put the verdicts back as they were, do not use this again."""
    # A damaged kernel or a dead engine, found meanwhile, is no matter of the arms.
    kept = tuple(v for v in state.verdicts if v.device not in trial.devices or v.until_reboot)
    devices = {v.device for v in kept}
    verdicts = (*kept, *(v for v in trial.former if v.device not in devices))
    state = silence(replace(state, verdicts=verdicts, trial=None, unproven=None))
    wait = state.mute.until - state.time
    reason = f"exonerated: {why}; connections are not judged for {wait:g} s"
    state, commands = _note_for_all(state, trial, reason)
    return state, [Save(), *commands]


def _note_for_all(state: State, trial: Trial, reason: str) -> Step:
    commands: list[Command] = []
    for name in trial.devices:
        level = state.level_of(name)
        decision = Decision(state.time, name, level, level, reason, trial.evidence)
        state, more = note(state, decision)
        commands += more
    return state, commands
