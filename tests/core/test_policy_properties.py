# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold for the policy whatever happens, and in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.arms.draw import ANSWERED_CHECKPOINTS, Births, OutcomeKind, Outcomes
from flowguard.core.arms.sequential_test import Counts
from flowguard.core.events import (
    Configured,
    Converge,
    Converged,
    ConvergeFailed,
    CrossoverSeen,
    Decided,
    DevicesChanged,
    DrainProgress,
    EngineSeen,
    Event,
    FaultSeen,
    FlowsJudged,
    FlowsSeen,
    KernelKnown,
    LookBegun,
    LookEnded,
    Notify,
    PowerCycleNeeded,
    Severity,
    Started,
    TablesLost,
    Tick,
)
from flowguard.core.model import (
    Attribution,
    Device,
    Family,
    Fault,
    FaultClass,
    Level,
    PolicySettings,
    Protocol,
)
from flowguard.core.policy import decide
from flowguard.core.replay import decode_event, encode_event, replay
from flowguard.core.requests import WantedChanged
from flowguard.core.state import State, allowed

NAMES = ("lan1", "lan2", "wan")
DRIVERS = ("labdriver", "other", None)

devices = st.builds(
    Device,
    name=st.sampled_from(NAMES),
    ifindex=st.integers(1, 9),
    driver=st.sampled_from(DRIVERS),
    hardware_capable=st.sampled_from((True, False, None)),
    reason=st.just("because"),
)
device_lists = st.lists(devices, max_size=3, unique_by=lambda d: d.name).map(tuple)
faults = st.builds(
    Fault,
    rule=st.sampled_from(("a", "b")),
    fault_class=st.sampled_from(FaultClass),
    attribution=st.sampled_from(Attribution),
    device=st.sampled_from((*NAMES, "wlan0", None)),
    driver=st.sampled_from(DRIVERS),
    line=st.just("line"),
    power_cycle=st.booleans(),
    by_look=st.sampled_from((False, False, False, True)),
)
settings = st.builds(
    PolicySettings,
    boot_delay=st.floats(0, 100),
    hold_off=st.floats(1, 500),
    hold_off_limit=st.floats(1, 2000),
)
counts = st.integers(0, 30)
# Mostly treated failures, or no history would ever reach a step.
outcomes = st.builds(
    Outcomes,
    kind=st.sampled_from(OutcomeKind),
    checkpoint=st.sampled_from(ANSWERED_CHECKPOINTS),
    family=st.sampled_from(Family),
    protocol=st.sampled_from(Protocol),
    pair=st.sampled_from((("lan1", "wan"), ("lan2", "wan"), None)),
    epoch=st.integers(0, 9),
    counts=st.builds(Counts, st.integers(0, 60), st.just(0), st.just(0), counts),
)
births = st.builds(Births, st.integers(0, 9), st.sampled_from((2, 16)), counts, counts)
times = st.just(0.0)
later_events = st.one_of(
    st.builds(DevicesChanged, times, device_lists),
    st.builds(FaultSeen, times, faults),
    st.builds(Configured, times, st.sampled_from(Level), settings),
    st.builds(WantedChanged, times, st.sampled_from(Level)),
    st.builds(DrainProgress, times, st.integers(0, 9), st.integers(0, 9)),
    st.builds(Converged, times),
    st.builds(ConvergeFailed, times, st.just("error"), st.sampled_from((*NAMES, None))),
    st.builds(TablesLost, times),
    st.builds(FlowsSeen, times, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    st.builds(
        FlowsJudged,
        times,
        st.lists(outcomes, max_size=4).map(tuple),
        st.lists(
            st.builds(Births, st.integers(0, 9), st.sampled_from((2, 16)), counts, counts),
            max_size=1,
        ).map(tuple),
        st.integers(0, 9000),
    ),
    st.builds(
        CrossoverSeen,
        times,
        st.integers(0, 9),
        st.integers(0, 9),
        st.integers(0, 9),
        st.booleans(),
    ),
    st.builds(
        EngineSeen,
        times,
        st.just(("tcp a -> b",)),
        st.integers(0, 9),
        st.just(("tcp c -> d",)),
        st.integers(0, 9),
    ),
    st.builds(LookBegun, times),
    st.builds(LookEnded, times),
    st.builds(Tick, times),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """A start and then anything, with time running forward in uneven steps."""
    time = draw(st.floats(0, 200))
    start = Started(time, draw(st.sampled_from(Level)), draw(settings))
    known = KernelKnown(time, draw(st.sampled_from(("", "", "it drops what is in software"))))
    history: list[Event] = [start, known, DevicesChanged(time, draw(device_lists))]
    for event in draw(st.lists(later_events, max_size=25)):
        time += draw(st.floats(0, 400))
        kind = type(event)
        values = {name: getattr(event, name) for name in kind.__slots__}
        history.append(kind(**{**values, "time": time}))
    return history


@given(histories())
def test_no_device_is_ever_above_what_is_wanted_or_allowed(history: list[Event]) -> None:
    state = State()
    for event in history:
        state, _ = decide(state, event)
        for device in state.devices:
            level = state.level_of(device.name)
            assert level.rank <= state.wanted.rank
            assert level is allowed(state, device)[0]


@given(histories())
def test_nothing_goes_up_while_its_hold_off_lasts(history: list[Event]) -> None:
    state = State()
    for event in history:
        state, _ = decide(state, event)
        for verdict in state.verdicts:
            if event.time < verdict.held_until:
                assert state.level_of(verdict.device).rank <= verdict.highest.rank


@given(histories())
def test_what_needs_a_power_cycle_is_never_on_hardware_again(history: list[Event]) -> None:
    state, dead = State(), set()
    for event in history:
        state, commands = decide(state, event)
        dead |= {c.device for c in commands if isinstance(c, PowerCycleNeeded)}
        assert all(state.level_of(name) is not Level.HARDWARE for name in dead)


@given(histories())
def test_where_software_drops_connections_nothing_is_in_it(history: list[Event]) -> None:
    state = State()
    for event in history:
        state, _ = decide(state, event)
        assert not state.software_drops or Level.SOFTWARE not in dict(state.levels).values()


@given(histories())
def test_a_look_at_the_engine_convicts_nobody(history: list[Event]) -> None:
    state = State()
    for event in history:
        otherwise, _ = decide(state, Tick(event.time))
        state, _ = decide(state, event)
        if isinstance(event, FaultSeen) and event.fault.by_look:
            assert state.verdicts == otherwise.verdicts


@given(histories())
def test_every_change_of_level_is_decided_with_a_reason(history: list[Event]) -> None:
    state = State()
    for event in history:
        before = state
        state, commands = decide(state, event)
        decided = {c.decision.device: c.decision for c in commands if isinstance(c, Decided)}
        for name, level in state.levels:
            if level is not before.level_of(name):
                assert decided[name].after is level
                assert decided[name].reason
                if level.rank < before.level_of(name).rank and isinstance(
                    event, FaultSeen | EngineSeen
                ):
                    assert decided[name].evidence


@given(histories())
def test_a_change_of_levels_always_reaches_the_kernel(history: list[Event]) -> None:
    state = State()
    for event in history:
        before = state
        state, commands = decide(state, event)
        if state.levels != before.levels:
            assert state.levels in [c.levels for c in commands if isinstance(c, Converge)]


@given(histories())
def test_every_drain_ends_or_is_reported(history: list[Event]) -> None:
    state = State()
    for event in history:
        state, _ = decide(state, event)
    while state.drain and not state.drain.overdue:
        deadline = state.next_deadline()
        assert deadline is not None
        state, commands = decide(state, Tick(deadline))
        if state.drain and state.drain.overdue:
            reports = [c for c in commands if isinstance(c, Notify)]
            assert any(r.severity is Severity.ERROR for r in reports)


@given(histories())
def test_unfinished_work_has_a_deadline_or_a_converge_under_way(history: list[Event]) -> None:
    state, asked = State(), False
    for event in history:
        state, commands = decide(state, event)
        if isinstance(event, (Converged, ConvergeFailed)):
            asked = False
        asked = asked or any(isinstance(c, Converge) for c in commands)
    assert state.converged or asked or state.next_deadline() is not None


@given(histories())
def test_the_event_log_replays_to_the_same_decisions(history: list[Event]) -> None:
    recorded = [decode_event(encode_event(event)) for event in history]
    assert recorded == history
    assert list(replay(recorded)) == list(replay(history))


@given(histories())
def test_every_trial_ends(history: list[Event]) -> None:
    state = State()
    for event in history:
        state, _ = decide(state, event)
    while state.trial:
        deadline = state.next_deadline()
        assert deadline is not None
        state, _ = decide(state, Tick(deadline))


@given(histories())
def test_the_evidence_never_lifts_a_device(history: list[Event]) -> None:
    state = State()
    for event in history:
        before = state
        state, _ = decide(state, event)
        if isinstance(event, FlowsJudged) and state.time == before.time:
            for name, level in state.levels:
                assert level.rank <= before.level_of(name).rank
