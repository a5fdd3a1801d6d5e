# SPDX-License-Identifier: GPL-2.0-or-later
"""How observed flows are judged, over connection tables that the test writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.arms.draw import ANSWERED_CHECKPOINTS, FIRST_CHECKPOINT, OutcomeKind
from flowguard.core.arms.sequential_test import Counts
from flowguard.core.events import FlowsJudged
from flowguard.core.model import Family, FlowTuple, Protocol
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.sensors.arms.census import (
    ASSURED,
    LIMIT,
    REMEMBERED,
    SEEN_REPLY,
    Census,
    ends_are_visible_in,
)
from flowguard.sensors.arms.followed import CLOSE, ESTABLISHED, TIME_WAIT
from tests.marked_arms import CONTROL, MarkedArms

HARDWARE = SEEN_REPLY | ASSURED | OFFLOAD | HW_OFFLOAD
STEP = 5.0


def entry(number: int, *, control: bool = False, protocol: int = 6, **changes: Any) -> Entry:
    tuples = [
        FlowTuple("tcp", "192.168.1.2", "203.0.113.1", 1000 + number % 60000, 443),
        FlowTuple("tcp", "203.0.113.1", "203.0.113.2", 443, 1000 + number % 60000),
    ]
    keys = [encode_tuple(kind, one)[1][4:] for kind, one in zip((1, 2), tuples, strict=True)]
    made = Entry(
        id=number,
        status=HARDWARE ^ (HW_OFFLOAD if control else 0),
        mark=CONTROL if control else 0,
        protocol=protocol,
        original_packets=4,
        original_bytes=400,
        reply_packets=3,
        reply_bytes=300,
        counted=True,
        tcp_state=None,
        timeout=None,
        key=keys[0],
        reply_key=keys[1],
    )
    return made._replace(**changes)


class AllTreated(MarkedArms):
    """A draw after which nobody is of the control arm."""

    def is_control(self, connection_hash: int) -> bool:
        return False


class SameHash(MarkedArms):
    """UDP connections all have the same addresses and ports, TCP ones none of them."""

    def hash_of(self, entry: Entry) -> int:
        return 0 if entry.protocol == 17 else super().hash_of(entry)


def moved(before: Entry, original: int, reply: int) -> Entry:
    return before._replace(
        original_packets=before.original_packets + original,
        reply_packets=before.reply_packets + reply,
    )


@dataclass
class Watch:
    """Looks every five seconds and keeps what was judged."""

    census: Census = field(
        default_factory=lambda: Census(lambda f: ("lan1", "wan"), ends_are_visible=True)
    )
    time: float = 100.0
    judged: list[FlowsJudged] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin(1)
        self.census.counters_proven = True

    def begin(self, epoch: int, anew: bool = True, in_hardware: bool = True) -> None:
        self.census.begin(epoch, MarkedArms(16), in_hardware=in_hardware, anew=anew)
        self.look()

    def look(self, entries: Sequence[Entry] = ()) -> FlowsJudged:
        self.time += STEP
        self.census.look(self.time, entries)
        self.judged.append(self.census.judge(self.time))
        return self.judged[-1]

    def counts(
        self, kind: OutcomeKind = OutcomeKind.ANSWERED, age: int = FIRST_CHECKPOINT
    ) -> Counts:
        rows = [o for j in self.judged for o in j.outcomes]
        found = (o.counts for o in rows if (o.kind, o.checkpoint) == (kind, age))
        return sum(found, Counts())


def test_a_flow_is_judged_at_ten_seconds_and_not_before() -> None:
    watch, flow = Watch(), entry(1)
    for _ in range(2):
        assert not watch.look([flow]).outcomes
        flow = moved(flow, 2, 2)
    (outcome,) = watch.look([flow]).outcomes
    assert outcome.counts == Counts(treated_good=1)
    assert (outcome.family, outcome.protocol) == (Family.IPV4, Protocol.TCP)
    assert (outcome.pair, outcome.epoch, outcome.checkpoint) == (("lan1", "wan"), 1, 10)


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("direction", [(2, 0), (0, 2)])
def test_one_direction_without_the_other_is_a_failure_in_either_arm(
    control: bool, direction: tuple[int, int]
) -> None:
    watch, flow = Watch(), entry(1, control=control)
    for _ in range(4):
        watch.look([flow])
        flow = moved(flow, *direction)
    failed = Counts(control_failed=1) if control else Counts(treated_failed=1)
    assert watch.counts() == failed


def test_who_failed_is_listed_as_stalled_while_it_tries_and_judged_no_more() -> None:
    watch, flow = Watch(), entry(1)
    for _ in range(20):
        watch.look([flow])
        flow = moved(flow, 2, 0)
    assert watch.census.stalled_since(1) is not None
    for _ in range(8):
        watch.look([flow])
    assert watch.census.stalled_since(1) is None
    assert watch.judged[-1].observed == 0
    assert watch.counts() == Counts(treated_failed=1)
    assert not watch.counts(age=60).total


def test_who_failed_and_recovers_or_ends_is_let_go() -> None:
    watch, one, other = Watch(), entry(1), entry(2)
    for _ in range(4):
        watch.look([one, other])
        one, other = moved(one, 2, 0), moved(other, 2, 0)
    assert len(list(watch.census.stalled())) == 2
    watch.look([moved(one, 1, 1)])
    assert not list(watch.census.stalled())


def test_a_server_that_never_answers_after_the_handshake_fails() -> None:
    watch, flow = Watch(), entry(1, original_packets=4, reply_packets=1)
    for _ in range(4):
        watch.look([flow])
        flow = moved(flow, 1, 0)
    assert watch.counts() == Counts(treated_failed=1)


def test_a_flow_without_traffic_says_nothing_after_its_first_checkpoint() -> None:
    watch, flow = Watch(), entry(1)
    for _ in range(60):
        watch.look([flow])
    assert watch.counts().total == 1
    assert watch.counts(age=60).total == watch.counts(age=240).total == 0


def test_a_late_stall_is_found_at_the_later_checkpoint() -> None:
    watch, flow = Watch(), entry(1)
    for number in range(14):
        watch.look([flow])
        flow = moved(flow, 3, 3 if number < 5 else 0)
    assert watch.counts() == Counts(treated_good=1)
    assert watch.counts(age=60) == Counts(treated_failed=1)


@pytest.mark.parametrize(
    "moves",
    [
        ((0, 40), (20, 0), (0, 0)),  # The acknowledgements of a download are counted late.
        ((9, 9), (9, 0), (0, 0)),
        ((5, 0), (0, 40), (0, 0)),  # A look fell between a question and its answer.
    ],
)
def test_packets_that_are_counted_late_are_not_unanswered(
    moves: tuple[tuple[int, int], ...],
) -> None:
    watch, flow = Watch(), entry(1)
    watch.look([flow])
    for move in moves:
        flow = moved(flow, *move)
        watch.look([flow])
    assert watch.counts() == Counts(treated_good=1)


def test_a_flow_that_recovers_is_good() -> None:
    watch, flow = Watch(), entry(1)
    for moves in ((4, 0), (1, 1), (0, 0)):
        watch.look([flow])
        flow = moved(flow, *moves)
    assert watch.counts() == Counts(treated_good=1)


def test_packets_that_are_just_on_their_way_are_no_failure() -> None:
    watch, flow = Watch(), entry(1)
    for moves in ((1, 1), (1, 1), (9, 0), (0, 0)):
        watch.look([flow])
        flow = moved(flow, *moves)
    assert watch.counts() == Counts(treated_good=1)


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({"tcp_state": TIME_WAIT}, True),
        ({"tcp_state": CLOSE}, False),
        ({"tcp_state": ESTABLISHED, "timeout": 7}, False),
    ],
)
def test_how_a_connection_ended_is_judged_at_sixty_seconds(
    changes: dict[str, Any], good: bool
) -> None:
    watch, flow = Watch(), entry(1)
    watch.look([flow])
    watch.look([flow._replace(status=ASSURED, **changes)])
    for _ in range(12):
        watch.look()
    wanted = Counts(treated_good=1) if good else Counts(treated_failed=1)
    assert watch.counts(OutcomeKind.ENDED, 60) == wanted


def test_who_gives_up_after_a_minute_is_judged_later_and_only_once() -> None:
    watch, flow = Watch(), entry(1)
    for _ in range(20):
        watch.look([flow])
        flow = moved(flow, 1, 1)  # Both ends repeat what the other does not hear.
    closed = flow._replace(status=ASSURED, tcp_state=CLOSE)
    for number in range(40):
        watch.look([closed] if number < 2 else [])
    assert not watch.counts(OutcomeKind.ENDED, 60).total
    assert watch.counts(OutcomeKind.ENDED, 240) == Counts(treated_failed=1)
    watch = Watch()
    for _ in range(60):
        watch.look([closed])
    assert watch.counts(OutcomeKind.ENDED, 60) == Counts(treated_failed=1)
    assert not watch.counts(OutcomeKind.ENDED, 240).total


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize(
    ("busy_looks", "silent_looks", "good"), [(2, 0, True), (5, 0, False), (1, 9, True)]
)
def test_an_orderly_end_is_good_unless_it_kept_busy_for_long(
    control: bool, busy_looks: int, silent_looks: int, good: bool
) -> None:
    watch, flow = Watch(), entry(1, control=control)
    for _ in range(busy_looks):
        watch.look([flow])
        flow = moved(flow, 1, 1)
    for _ in range(silent_looks):
        watch.look([flow])
    for _ in range(60):
        watch.look([flow._replace(status=ASSURED, tcp_state=TIME_WAIT)])
    one = Counts(treated_failed=int(not good), treated_good=int(good))
    if control:
        one = Counts(control_failed=one.treated_failed, control_good=one.treated_good)
    assert watch.counts(OutcomeKind.ENDED, 60) == one
    assert not watch.counts(OutcomeKind.ENDED, 240).total


def test_at_the_last_age_an_orderly_end_is_good() -> None:
    watch, flow = Watch(), entry(1)
    for _ in range(20):
        watch.look([flow])
        flow = moved(flow, 1, 1)
    for _ in range(40):
        watch.look([flow._replace(status=ASSURED, tcp_state=TIME_WAIT)])
    assert not watch.counts(OutcomeKind.ENDED, 60).total
    assert watch.counts(OutcomeKind.ENDED, 240) == Counts(treated_good=1)


def test_a_reset_that_only_the_destroy_event_shows() -> None:
    watch, flow = Watch(), entry(1)
    watch.look([flow])
    watch.census.destroyed([flow._replace(status=ASSURED, tcp_state=ESTABLISHED, timeout=None)])
    for _ in range(13):
        watch.look()
    assert watch.counts(OutcomeKind.ENDED, 60) == Counts(treated_failed=1)


def test_a_flow_that_is_gone_is_judged_at_the_same_age_as_others() -> None:
    watch = Watch()
    watch.look([entry(1)])
    assert [len(watch.look().outcomes) for _ in range(3)] == [0, 1, 0]
    assert watch.counts() == Counts(treated_good=1)


def test_flows_of_before_the_draw_are_not_judged() -> None:
    watch = Watch()
    watch.census.begin(2, MarkedArms(16), in_hardware=True, anew=True)
    flow = entry(1)
    for _ in range(5):
        watch.look([flow])
        flow = moved(flow, 1, 1)
    assert not watch.counts().total
    assert not watch.judged[-1].births


def test_another_share_keeps_what_is_observed_under_its_old_epoch() -> None:
    watch, flow = Watch(), entry(1)
    watch.look([flow])
    watch.census.begin(2, MarkedArms(2), in_hardware=True, anew=False)
    for _ in range(3):
        watch.look([flow, entry(2)])
    watch.look([flow, entry(2), entry(3)])
    for _ in range(3):
        watch.look([flow, entry(2), entry(3)])
    epochs = [o.epoch for j in watch.judged for o in j.outcomes if o.checkpoint == FIRST_CHECKPOINT]
    assert epochs == [1, 2]  # The second flow may have been drawn under either.


def test_a_look_in_parts_is_one_look() -> None:
    watch, flows = Watch(), [entry(n) for n in range(4)]
    for _ in range(4):
        watch.census.look(watch.time + STEP, flows[:3])
        watch.look(flows[3:])
        flows = [moved(flow, 2, 2) for flow in flows]
    assert watch.counts() == Counts(treated_good=4)


def test_nobody_is_taken_for_gone_in_a_look_that_was_cut_short() -> None:
    watch, flow, other = Watch(), entry(1), entry(2)
    watch.look([flow, other])
    watch.census.look(watch.time, [other])
    watch.census.abandon()
    for _ in range(3):
        flow = moved(flow, 3, 0)
        watch.look([flow])
    assert watch.counts() == Counts(treated_failed=1, treated_good=1)


def test_a_draw_that_changes_during_a_look() -> None:
    watch = Watch()
    watch.census.look(watch.time, [entry(1)])
    watch.census.begin(2, MarkedArms(16), in_hardware=True, anew=True)
    watch.look([entry(2)])
    watch.look([entry(1), entry(2), entry(3)])
    for _ in range(4):
        watch.look([entry(1), entry(2), entry(3)])
    assert not watch.counts().total  # Each may have been born under the draw before.


def test_a_reset_after_the_flow_was_seen_in_the_same_look() -> None:
    watch, flow = Watch(), entry(1)
    watch.look([flow])
    watch.census.look(watch.time, [flow])
    watch.census.destroyed([flow._replace(status=ASSURED, tcp_state=CLOSE)])
    for _ in range(13):
        watch.look()
    assert watch.counts(OutcomeKind.ENDED, 60) == Counts(treated_failed=1)


def test_births_count_both_arms() -> None:
    watch = Watch()
    flows = [entry(n, control=n < 3) for n in range(10)]
    for _ in range(3):
        judged = watch.look(flows)
    (births,) = judged.births
    assert (births.treated, births.control, births.control_share) == (7, 3, 16)
    assert judged.observed == 10


def test_hardware_that_was_never_seen_to_count_is_not_judged_by_its_silence() -> None:
    watch = Watch()
    watch.census.counters_proven = False
    frozen = entry(1)
    for _ in range(5):
        watch.look([frozen])
        frozen = moved(frozen, 3, 0)
    assert not watch.counts().total
    assert not watch.census.counters_proven


def test_a_flow_that_is_too_old_to_be_judged_proves_the_counters_as_well() -> None:
    watch, old = Watch(), entry(1)
    watch.census.counters_proven = False
    watch.census.begin(2, MarkedArms(16), in_hardware=True, anew=True)
    for _ in range(2):
        watch.look([old])
        old = moved(old, 3, 3)
    assert watch.census.counters_proven


def test_in_software_counters_need_no_proof() -> None:
    watch = Watch()
    watch.census.counters_proven = False
    watch.begin(2, in_hardware=False)
    for _ in range(4):
        watch.look([entry(1, status=ASSURED | OFFLOAD)])
    assert watch.counts() == Counts(treated_good=1)


def test_unanswered_handshakes_and_other_protocols_are_left_out() -> None:
    watch = Watch()
    for _ in range(5):
        watch.look([entry(1, status=0), entry(2, protocol=47)])
    assert not watch.counts().total
    assert watch.judged[-1].observed == 0


def test_udp_need_not_be_assured() -> None:
    watch, flow = Watch(), entry(1, protocol=17, status=SEEN_REPLY | OFFLOAD | HW_OFFLOAD)
    for _ in range(4):
        watch.look([flow, entry(2, protocol=17, status=0)])
        flow = moved(flow, 5, 0)
    assert watch.counts() == Counts(treated_failed=1)


def test_more_flows_than_the_limit_are_not_followed() -> None:
    watch = Watch()
    many = [entry(n) for n in range(LIMIT + 50)]
    assert watch.look(many).observed == LIMIT
    assert watch.look(many).observed == LIMIT


def test_of_very_many_flows_some_of_both_arms_are_followed_further() -> None:
    watch = Watch()
    many = [entry(n, control=n % 2 == 0) for n in range(4000)]
    for _ in range(13):
        observed = watch.look(many).observed
        many = [moved(flow, 1, 1) for flow in many]
    assert watch.counts().total == 4000
    assert 400 < observed == watch.counts(age=60).total < 700
    assert watch.counts(age=60).treated == watch.counts(age=60).control


def test_a_long_lived_flow_is_let_go_when_it_has_been_judged_and_not_before() -> None:
    watch, flow = Watch(), entry(1)
    while not watch.counts(age=240).total:
        assert watch.look([flow]).observed == (not watch.counts(age=240).total)
        flow = moved(flow, 1, 1)
    judged = len(watch.judged)
    for _ in range(60):
        assert watch.look([flow]).observed == 0
        flow = moved(flow, 1, 1)
    assert not any(j.outcomes for j in watch.judged[judged:])


def test_who_changes_arms_is_judged_no_more() -> None:
    watch = Watch()
    stays, goes = entry(1), entry(2, control=True)
    watch.look([stays, goes])
    watch.census.begin(2, AllTreated(16), in_hardware=True, anew=False)
    for _ in range(4):
        stays, goes = moved(stays, 1, 1), moved(goes, 1, 1)
        watch.look([stays, goes])
    assert watch.counts() == Counts(treated_good=1)


def test_the_same_addresses_and_ports_are_judged_again_only_after_many_others() -> None:
    watch = Watch()
    watch.census.begin(1, SameHash(16), in_hardware=True, anew=False)
    watch.look()
    for number in range(1, 4):
        for _ in range(4):
            watch.look([entry(number, protocol=17)])
        watch.look()
    assert watch.counts().total == 1
    watch.look([entry(1000 + n) for n in range(REMEMBERED)])
    for _ in range(4):
        watch.look([entry(9, protocol=17)])
    assert watch.counts().total == 1 + REMEMBERED + 1


@pytest.mark.parametrize(
    ("in_hardware", "status"), [(True, HARDWARE), (False, SEEN_REPLY | ASSURED | OFFLOAD)]
)
def test_a_flow_of_the_control_arm_that_is_not_kept_from_its_level_is_born_treated(
    in_hardware: bool, status: int
) -> None:
    watch = Watch()
    watch.begin(1, in_hardware=in_hardware)
    flows = [entry(1, control=True, status=status), entry(2, control=True, status=ASSURED)]
    for _ in range(3):
        watch.look(flows)
    (births,) = watch.judged[-1].births
    assert (births.treated, births.control) == (1, 1)


def test_stalled_flows_are_listed_since_when() -> None:
    watch, flow = Watch(), entry(1)
    for _ in range(3):
        watch.look([flow])
        flow = moved(flow, 3, 0)
    (stalled,) = watch.census.stalled()
    assert stalled.flow.original.destination == "203.0.113.1"
    assert watch.census.stalled_since(1) == stalled.since
    assert watch.census.born(1) is not None


@pytest.mark.parametrize(
    ("release", "visible"),
    [
        ("6.1.0-9-amd64", True),
        ("6.12.95+deb12", True),
        ("6.12.113", False),
        ("6.13.4", True),
        ("6.14.0", False),
        ("7.3.4", False),
    ],
)
def test_kernels_that_show_how_offloaded_flows_end(release: str, visible: bool) -> None:
    assert ends_are_visible_in(release) is visible


steps = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=70)


@given(steps)
def test_both_arms_are_judged_alike(moves: list[tuple[int, int]]) -> None:
    watch = Watch()
    flows = [entry(1), entry(2, control=True)]
    for move in moves:
        watch.look(flows)
        flows = [moved(flow, *move) for flow in flows]
    for judged in watch.judged:
        for outcome in judged.outcomes:
            counts = outcome.counts
            assert counts.treated_failed == counts.control_failed
            assert counts.treated_good == counts.control_good


@given(steps)
def test_no_flow_is_judged_twice_at_an_age(moves: list[tuple[int, int]]) -> None:
    watch, flow = Watch(), entry(1)
    for move in moves:
        watch.look([flow])
        flow = moved(flow, *move)
    for age in ANSWERED_CHECKPOINTS:
        assert watch.counts(age=age).total <= 1
