# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes are counted once each, for the path that they took."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flowguard.core.records import fields
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry
from flowguard.sensors.arms.census import ASSURED, SEEN_REPLY
from flowguard.sensors.byte_counts import MOST, RATE_SECONDS, SMALL, ByteCounts, Bytes

NONE = SEEN_REPLY | ASSURED
SOFTWARE = NONE | OFFLOAD
HARDWARE = SOFTWARE | HW_OFFLOAD
LARGE = 1_000_000


def entry(number: int, status: int, original: int, reply: int = 0) -> Entry:
    return Entry(number, status, 0, 6, 0, original, 0, reply, True, None, None, b"", b"")


def whole_look(counts: ByteCounts, *entries: Entry) -> None:
    counts.look(entries)
    counts.looked()


@pytest.fixture
def counts() -> ByteCounts:
    """One that has looked before."""
    begun = ByteCounts()
    begun.looked()
    return begun


def test_both_directions_are_counted_for_the_path_that_they_took(counts: ByteCounts) -> None:
    for size in (LARGE, 2 * LARGE):
        connections = (
            entry(number, status, size, 5) for number, status in enumerate((HARDWARE, SOFTWARE))
        )
        whole_look(counts, *connections)
    assert counts.totals == Bytes(2 * LARGE + 5, 2 * LARGE + 5, 0)


def test_what_passed_before_the_first_look_is_not_counted() -> None:
    counts = ByteCounts()
    counts.ended([entry(2, NONE, LARGE)])
    assert counts.totals is None
    whole_look(counts, entry(1, HARDWARE, LARGE))
    whole_look(counts, entry(1, HARDWARE, LARGE + 7))
    assert counts.totals == Bytes(hardware=7)


@pytest.mark.parametrize("later", [SOFTWARE, NONE])
def test_a_flow_that_comes_down_has_sent_the_last_bytes_above(
    counts: ByteCounts, later: int
) -> None:
    whole_look(counts, entry(1, HARDWARE, LARGE))
    whole_look(counts, entry(1, later, LARGE + 500))
    assert counts.totals == Bytes(hardware=LARGE + 500)
    whole_look(counts, entry(1, later, LARGE + 800))
    assert counts.totals == Bytes(LARGE + 500, *((300, 0) if later == SOFTWARE else (0, 300)))


def test_a_flow_that_ends_is_counted_to_its_last_byte_where_it_was(counts: ByteCounts) -> None:
    whole_look(counts, entry(1, HARDWARE, LARGE))
    counts.ended([entry(1, NONE, LARGE + 500)])
    assert counts.totals == Bytes(hardware=LARGE + 500)


def test_one_that_nobody_saw_and_small_ones_are_counted_at_their_end(counts: ByteCounts) -> None:
    whole_look(counts, entry(1, HARDWARE, SMALL))
    assert counts.totals == Bytes()
    counts.ended([entry(1, NONE, SMALL), entry(2, NONE, LARGE)])
    assert counts.totals == Bytes(none=SMALL + LARGE)


def test_what_a_look_has_read_of_one_that_ended_meanwhile_counts_once(counts: ByteCounts) -> None:
    whole_look(counts, entry(1, HARDWARE, LARGE))
    counts.ended([entry(1, NONE, LARGE)])
    whole_look(counts, entry(1, HARDWARE, LARGE))
    whole_look(counts)
    whole_look(counts)
    assert counts.totals == Bytes(hardware=LARGE)


def test_of_two_looks_that_overlap_the_older_answer_changes_nothing(counts: ByteCounts) -> None:
    whole_look(counts, entry(1, HARDWARE, LARGE))
    counts.look([entry(1, HARDWARE, LARGE + 500)])
    counts.look([entry(1, HARDWARE, LARGE + 300)])
    whole_look(counts, entry(1, HARDWARE, LARGE + 500))
    assert counts.totals == Bytes(hardware=LARGE + 500)


def test_a_look_that_breaks_off_loses_nobody(counts: ByteCounts) -> None:
    whole_look(counts, entry(1, HARDWARE, LARGE), entry(2, HARDWARE, LARGE))
    counts.look([entry(1, HARDWARE, LARGE)])
    whole_look(counts, entry(2, HARDWARE, LARGE), entry(1, HARDWARE, LARGE))
    assert counts.totals == Bytes(hardware=2 * LARGE)


def test_who_comes_while_nothing_is_offloaded_went_by_neither(counts: ByteCounts) -> None:
    counts.rest()
    whole_look(counts, entry(1, HARDWARE, LARGE))
    whole_look(counts, entry(1, HARDWARE, LARGE + 5))
    assert counts.totals == Bytes(hardware=5, none=LARGE)


def test_what_was_counted_before_a_restart_is_part_of_it() -> None:
    counts = ByteCounts()
    counts.go_on_from(Bytes(1, 2, 3))
    counts.looked()
    assert counts.totals == Bytes(1, 2, 3)


def test_of_very_many_the_rest_is_counted_at_its_end(counts: ByteCounts) -> None:
    crowd = [entry(number, SOFTWARE, LARGE) for number in range(MOST + 10)]
    whole_look(counts, *crowd)
    whole_look(counts, *crowd)
    assert counts.totals == Bytes(software=MOST * LARGE)
    counts.ended(crowd)
    assert counts.totals == Bytes(software=MOST * LARGE, none=10 * LARGE)


def test_rates_are_those_of_the_last_minute(counts: ByteCounts) -> None:
    assert counts.rates() is None
    for second in range(0, 200, 10):
        size = LARGE + second * (100 if second <= 100 else 1000)
        whole_look(counts, entry(1, HARDWARE, size))
        counts.sample(second)
    rates = counts.rates()
    assert rates and rates.seconds == RATE_SECONDS
    assert rates.hardware == pytest.approx(1000)


def test_rates_of_less_than_a_minute(counts: ByteCounts) -> None:
    counts.sample(0.0)
    whole_look(counts, entry(1, SOFTWARE, LARGE))
    whole_look(counts, entry(1, SOFTWARE, LARGE))
    counts.sample(10.0)
    rates = counts.rates()
    assert rates and (rates.software, rates.seconds) == (LARGE / 10, 10.0)


class Home(RuleBasedStateMachine):
    """Connections that come, carry bytes, change their path and end, while somebody looks."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = ByteCounts()
        self.counts.looked()
        self.live: dict[int, Entry] = {}
        self.carried = 0
        self.seen = Bytes()
        self.late: list[Entry] = []
        self.numbers = 0

    @rule(status=st.sampled_from([NONE, SOFTWARE, HARDWARE]), size=st.integers(1, 3 * SMALL))
    def begin(self, status: int, size: int) -> None:
        self.numbers += 1
        self.live[self.numbers] = entry(self.numbers, status, size)
        self.carried += size

    @rule(pick=st.integers(0, 99), size=st.integers(1, LARGE))
    def carry(self, pick: int, size: int) -> None:
        for number in self._picked(pick):
            one = self.live[number]
            self.live[number] = one._replace(reply_bytes=one.reply_bytes + size)
            self.carried += size

    @rule(pick=st.integers(0, 99), status=st.sampled_from([NONE, SOFTWARE, HARDWARE]))
    def change_path(self, pick: int, status: int) -> None:
        for number in self._picked(pick):
            self.live[number] = self.live[number]._replace(status=status)

    @rule(pick=st.integers(0, 99))
    def end(self, pick: int) -> None:
        for number in self._picked(pick):
            self.counts.ended([self.live.pop(number)._replace(status=NONE)])

    @rule()
    def read(self) -> None:
        """The kernel has answered; what becomes of it is looked at later."""
        self.late = [*self.live.values()]

    @rule()
    def look_late(self) -> None:
        self.counts.look(self.late)
        self.late = []
        self.counts.look(self.live.values())
        self.counts.looked()

    @rule()
    def look_at_part(self) -> None:
        self.counts.look([e for e in self.live.values() if e.status & OFFLOAD])

    @invariant()
    def nothing_counts_twice_or_is_taken_back(self) -> None:
        now = self.counts.totals
        assert now
        assert sum(getattr(now, path) for path in fields(now)) <= self.carried
        assert all(getattr(now, path) >= getattr(self.seen, path) for path in fields(now))
        self.seen = now

    def teardown(self) -> None:
        self.counts.ended(self.live.values())
        totals = self.counts.totals
        assert totals and sum(getattr(totals, path) for path in fields(totals)) == self.carried

    def _picked(self, pick: int) -> list[int]:
        numbers = sorted(self.live)
        return [numbers[pick % len(numbers)]] if numbers else []


Home.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestHome = Home.TestCase


def test_who_is_missing_in_one_look_is_not_counted_again(counts: ByteCounts) -> None:
    large = entry(1, NONE, LARGE)
    for seen in ((large,), (large,), (), (large,), (large,)):
        whole_look(counts, *seen)
    assert counts.totals == Bytes(none=LARGE)  # It came after the first look.


def test_what_moves_while_nobody_looks_is_not_hardwares(counts: ByteCounts) -> None:
    for _ in range(2):
        whole_look(counts, entry(1, HARDWARE, LARGE))
    before = counts.totals
    counts.rest()
    whole_look(counts, entry(1, NONE, 3 * LARGE))
    assert before and counts.totals == Bytes(before.hardware, none=before.none + 2 * LARGE)
