# SPDX-License-Identifier: GPL-2.0-or-later
"""What the detector keeps is bounded, however many ports a router has or had."""

from __future__ import annotations

from flowguard.core.arms.detector import (
    EVERYTHING,
    PAIRS_KNOWN,
    PAIRS_TESTED,
    Detector,
    Pair,
    judge,
)
from flowguard.core.arms.draw import FIRST_CHECKPOINT, OutcomeKind, Outcomes
from flowguard.core.arms.sequential_test import Counts
from flowguard.core.model import Family, Protocol

GOOD = Counts(treated_good=15, control_good=1)


def seen(pair: Pair, flows: int = 1) -> Outcomes:
    counts = Counts(0, GOOD.treated_good * flows, 0, GOOD.control_good * flows)
    kind = OutcomeKind.ANSWERED
    return Outcomes(kind, FIRST_CHECKPOINT, Family.IPV4, Protocol.TCP, pair, 1, counts)


def pairs_of(detector: Detector) -> set[Pair]:
    return {r.scope.pair for r in detector.recents if r.scope.pair}


def test_a_thousand_pairs_of_ports_leave_the_records_of_a_few() -> None:
    detector = Detector()
    for number in range(1000):
        detector = judge(detector, number * 5.0, [seen(("lan1", f"ppp{number}"))], [])
        assert len(pairs_of(detector)) <= PAIRS_KNOWN
    assert len({t.scope.pair for t in detector.tests if t.scope.pair}) <= PAIRS_TESTED
    assert any(r.scope == EVERYTHING for r in detector.recents)
    assert len(detector.recents) <= PAIRS_KNOWN + 3


def test_the_pairs_with_the_most_flows_are_the_ones_that_are_known() -> None:
    busy = [("lan1", "wan"), ("lan2", "wan")]
    detector = Detector()
    for number in range(200):
        rows = [*(seen(pair, 50) for pair in busy), seen(("lan1", f"ppp{number}"))]
        detector = judge(detector, number * 5.0, rows, [])
    assert set(busy) <= pairs_of(detector)


def test_as_few_pairs_as_a_router_has_are_all_known() -> None:
    pairs = [(f"lan{number}", "wan") for number in range(PAIRS_KNOWN)]
    detector = judge(Detector(), 5.0, [seen(pair) for pair in pairs], [])
    assert pairs_of(detector) == set(pairs)
