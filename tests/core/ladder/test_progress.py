# SPDX-License-Identifier: GPL-2.0-or-later
"""Wanted and reached are two things: a level that is told is one that the kernel was seen at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.events import (
    Converge,
    Converged,
    ConvergeFailed,
    Decided,
    DevicesChanged,
    DrainProgress,
    Event,
    FaultSeen,
    Moved,
    Severity,
    StandbyChanged,
    Started,
    TablesLost,
    Tick,
)
from flowguard.core.model import Decision, Level
from flowguard.core.policy import decide
from flowguard.core.records import replace
from flowguard.core.replay import decode_event, encode_event
from flowguard.core.requests import SuspendAsked
from flowguard.core.state import State
from tests.core.test_policy import ALL, SETTINGS, Story, fault, started

HARDWARE, SOFTWARE, NONE = Level.HARDWARE, Level.SOFTWARE, Level.NONE
NAMES = [device.name for device in ALL]
Held = tuple[tuple[str, Level], ...]


def all_on(level: Level) -> Held:
    return tuple((name, level) for name in NAMES) if level is not NONE else ()


def moved(story: Story) -> list[Decision]:
    return [c.decision for c in story.last if isinstance(c, Moved)]


def asked() -> Story:
    """Hardware is wanted, and the kernel has not answered yet."""
    return Story().on(Started(100, HARDWARE, SETTINGS)).on(DevicesChanged(100, ALL))


def test_what_is_decided_is_not_reached_before_the_kernel_was_seen_to_hold_it() -> None:
    story = asked()
    assert {d.after for d in story.decided()} == {HARDWARE} and not moved(story)
    assert (story.state.target, story.state.level) == (HARDWARE, NONE)
    assert all(decision.reached is None for decision in story.state.decisions)
    story.on(Converged(101, all_on(HARDWARE)))
    assert [(d.device, d.before, d.after) for d in moved(story)] == [
        (name, NONE, HARDWARE) for name in NAMES
    ]
    assert story.state.level is HARDWARE
    assert all(decision.reached == 101 for decision in story.state.decisions)


def test_a_kernel_that_refuses_everything_leaves_the_level_where_it_is() -> None:
    story = asked().on(ConvergeFailed(101, "Operation not supported", None, ()))
    assert (story.state.target, story.state.level) == (HARDWARE, NONE)
    assert not moved(story) and story.state.failure
    assert all(decision.reached is None for decision in story.state.decisions)
    story.on(Tick(106)).on(ConvergeFailed(107, "Operation not supported", None, ()))
    assert not moved(story) and story.state.level is NONE


def test_a_kernel_that_does_not_say_what_it_holds_is_believed_to_hold_what_it_did() -> None:
    story = started()
    story.on(FaultSeen(200, fault(device="wan"))).on(ConvergeFailed(201, "busy", None, None))
    assert dict(story.state.reached) == dict(all_on(HARDWARE)) and not moved(story)


def test_a_refusal_halfway_is_told_as_far_as_it_came() -> None:
    held = (("lan1", SOFTWARE),)
    story = asked().on(ConvergeFailed(101, "no memory", None, held))
    (move,) = moved(story)
    assert (move.device, move.before, move.after) == ("lan1", NONE, SOFTWARE)
    assert move.reason == "found so"
    assert story.state.level is SOFTWARE


def test_when_a_drain_begins_hardware_takes_no_new_flow_of_any_device() -> None:
    """The rules are gone by then, those of the devices that will stay as well."""
    story = started().on(FaultSeen(200, fault(device="wan")))
    assert not moved(story) and story.state.reached_by("wan") is HARDWARE
    moves = {move.device: move for move in moved(story.on(DrainProgress(200.2, 7, 7)))}
    assert {(m.before, m.after, m.reached) for m in moves.values()} == {(HARDWARE, SOFTWARE, 200.2)}
    assert moves.keys() == dict(all_on(HARDWARE)).keys()
    assert "driver fault" in moves.pop("wan").reason
    assert {m.reason for m in moves.values()} == {"hardware is being drained"}
    assert not moved(story.on(DrainProgress(201, 3, 3)))
    moves = {m.device: m for m in moved(story.on(Converged(210, (*all_on(HARDWARE)[:2],))))}
    assert moves.pop("wan").after is NONE
    assert {(m.before, m.after) for m in moves.values()} == {(SOFTWARE, HARDWARE)}


def test_a_move_has_the_reason_and_the_evidence_of_its_decision() -> None:
    story = started().on(FaultSeen(200, fault(device="wan")))
    (decision,) = story.decided()
    story.on(Converged(210, (*all_on(HARDWARE)[:2], ("wan", SOFTWARE))))
    (move,) = moved(story)
    assert (move.reason, move.evidence) == (decision.reason, decision.evidence)
    assert [d for d in story.state.decisions if d.reached is None] == []


def test_standing_by_and_coming_back_are_told_as_what_they_are() -> None:
    story = started()
    story.on(StandbyChanged(200, "the firewall was stopped")).on(Converged(210, ()))
    assert {(d.before, d.after) for d in moved(story)} == {(HARDWARE, NONE)}
    assert {d.reason for d in moved(story)} == {"the firewall was stopped"}
    story.on(StandbyChanged(300, "")).on(Tick(300 + SETTINGS.quiet))
    story.on(Converged(311, all_on(HARDWARE)))
    assert {(d.before, d.after) for d in moved(story)} == {(NONE, HARDWARE)}


def test_a_restart_that_finds_what_the_one_before_left_tells_no_move() -> None:
    story = Story().on(Started(100, HARDWARE, SETTINGS, held=all_on(HARDWARE)))
    story.on(DevicesChanged(100, ALL)).on(Converged(101, all_on(HARDWARE)))
    assert not [c for c in story.commands if isinstance(c, Moved)]
    assert story.state.level is HARDWARE


def test_a_suspension_is_no_move_before_the_tables_are_gone() -> None:
    story = started().on(SuspendAsked(200, suspended=True))
    assert not moved(story)
    story.on(Converged(220, ()))
    assert {d.after for d in moved(story)} == {NONE}


held_levels = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from((HARDWARE, SOFTWARE))),
    max_size=3,
    unique_by=lambda pair: pair[0],
).map(tuple)
answers = st.one_of(
    held_levels.map(lambda held: Converged(0, held)),
    st.builds(ConvergeFailed, st.just(0.0), st.just("no"), st.none(), st.none() | held_levels),
    st.just(DrainProgress(0, 1, 1)),
    st.just(StandbyChanged(0, "stopped")),
    st.just(StandbyChanged(0, "")),
    st.just(FaultSeen(0, fault(device="wan"))),
    st.just(Tick(0)),
)


@given(st.lists(st.tuples(answers, st.floats(0, 700)), max_size=30))
def test_the_moves_that_are_told_add_up_to_what_the_kernel_holds(
    steps: list[tuple[Event, float]],
) -> None:
    state, time, told = State(), 1000.0, dict[str, Level]()
    events: list[Event] = [Started(time, HARDWARE, SETTINGS), DevicesChanged(time, ALL)]
    for event, seconds in steps:
        time += seconds
        kind = type(event)
        values = [getattr(event, name) for name in kind.__match_args__[1:]]
        events.append(kind(time, *values))
    for event in events:
        state, commands = decide(state, event)
        for command in commands:
            if isinstance(command, Moved):
                decision = command.decision
                assert decision.before is told.get(decision.device, NONE)
                assert decision.before is not decision.after
                assert decision.reached is not None
                told[decision.device] = decision.after
        assert {n: v for n, v in told.items() if v is not NONE} == {
            n: v for n, v in state.reached if v is not NONE
        }
        if isinstance(event, Converged) and event.held is not None:
            assert dict(state.reached) == dict(event.held)
        decided = [c.decision for c in commands if isinstance(c, Decided)]
        # There may be notes beside it, which move nothing.
        moving = [d.device for d in decided if d.before is not d.after]
        assert len(moving) == len(set(moving))
        assert decode_event(encode_event(state)) == state


def test_tables_that_somebody_removed_are_told_as_gone_and_built_at_once() -> None:
    """Also while a refusal is waited for."""
    story = started().on(ConvergeFailed(200, "busy", None, all_on(HARDWARE)))
    assert story.state.failure and story.state.failure.retry_at == 205
    story.on(TablesLost(201, ()))
    assert {(m.before, m.after) for m in moved(story)} == {(HARDWARE, NONE)}
    assert any(isinstance(command, Converge) for command in story.last)


def test_a_drain_that_cannot_be_seen_is_told_as_that() -> None:
    story = started().on(FaultSeen(200, fault(device="wan")))
    story.on(DrainProgress(201, None, None, (), all_on(SOFTWARE)))
    assert story.state.level is SOFTWARE
    (told,) = story.on(Tick(260)).notes(Severity.ERROR)
    assert "cannot be seen" in told


def test_what_has_to_come_down_is_tried_again_soon_however_often_it_was_refused() -> None:
    story = started().on(FaultSeen(200, fault(device="wan")))
    for _ in range(20):
        now = story.state.time
        story.on(ConvergeFailed(now, "no memory", None, all_on(HARDWARE)))
        assert story.state.next_deadline() == now + 2
        assert any(isinstance(c, Converge) for c in story.on(Tick(now + 2)).last)


def detecting() -> Story:
    """Hardware is wanted, and whatever happens is only told."""
    settings = replace(SETTINGS, detect_only=True)
    return Story().on(Started(100, HARDWARE, settings)).on(DevicesChanged(100, ALL))


def test_only_detecting_what_one_device_was_refused_for_is_tried_again_as_well() -> None:
    refusal = ConvergeFailed(101, "hardware flowtable on wan: busy", "wan", ())
    story = detecting().on(refusal)
    assert story.state.failure and story.state.failure.retry_at == 106
    assert any(isinstance(command, Converge) for command in story.on(Tick(106)).last)


def test_no_move_is_told_with_the_reason_of_what_moved_nothing() -> None:
    story = detecting().on(Converged(101, all_on(HARDWARE)))
    story.on(FaultSeen(200, fault(device="wan")))
    assert "would step down" in story.decided()[0].reason
    story.on(TablesLost(300, ())).on(Converged(301, all_on(HARDWARE)))
    assert {(m.device, m.reason) for m in moved(story)} == {
        (name, "wanted level is hardware") for name in NAMES
    }
