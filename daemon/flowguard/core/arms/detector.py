# SPDX-License-Identifier: GPL-2.0-or-later
"""Evidence from the arms: one sequential test per scope, kind of outcome and age.

A fault may hit all flows, one family, one protocol or one pair of devices, at once or after
minutes; so each of these has a test of its own. The tests share one budget of false alarms:
their weights sum to 1, and what is compared with `evidence.ACT` is the weighted sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

from flowguard.core.arms.draw import FIRST_CHECKPOINT, Births, OutcomeKind, Outcomes
from flowguard.core.arms.sequential_test import (
    Counts,
    Process,
    ShareCheck,
    combined,
    update,
    update_share,
)
from flowguard.core.model import Family, Level, Protocol
from flowguard.core.records import frozen

# The youngest age decides soonest, so it gets the most of the budget.
AGE_WEIGHTS = {
    (OutcomeKind.ANSWERED, FIRST_CHECKPOINT): 0.76,
    (OutcomeKind.ANSWERED, 60): 0.08,
    (OutcomeKind.ANSWERED, 240): 0.04,
    (OutcomeKind.ENDED, 60): 0.08,
    (OutcomeKind.ENDED, 240): 0.04,
}
EVERYTHING_WEIGHT = 0.76
FAMILY_OR_PROTOCOL_WEIGHT = 0.03
PAIRS_TESTED = 8
PAIR_WEIGHT = 0.12 / PAIRS_TESTED
# Of so many pairs of ports is it known how their flows fare; a router rarely has a dozen.
PAIRS_KNOWN = 32

RECENT_HALF_LIFE = 60.0  # seconds
# Enough to tell whom a fault spares: where so many treated flows have failed, others of whom
# as many should have failed, and which did so this much less often.
TELLING_FAILURES = 4.0
CLEARED_RATIO = 0.25

Pair = tuple[str, str]
T = TypeVar("T")


@frozen
class Scope:
    """The flows that a test looks at; at most one field is set, none means all flows."""

    family: Family | None = None
    protocol: Protocol | None = None
    pair: Pair | None = None

    def __str__(self) -> str:
        if self.pair:
            return "-".join(self.pair)
        return str(self.family or self.protocol or "all flows")

    @property
    def weight(self) -> float:
        if self.pair:
            return PAIR_WEIGHT
        return FAMILY_OR_PROTOCOL_WEIGHT if self.family or self.protocol else EVERYTHING_WEIGHT


EVERYTHING = Scope()
_Group = dict[Scope, list[int]]  # numbers in the order of Counts
_Key = tuple[OutcomeKind, int, Scope]


@frozen
class ScopedTest:
    kind: OutcomeKind
    checkpoint: int
    scope: Scope
    process: Process

    @property
    def weight(self) -> float:
        return AGE_WEIGHTS.get((self.kind, self.checkpoint), 0.0) * self.scope.weight


@frozen
class Recent:
    """Treated outcomes of a test, counting half after RECENT_HALF_LIFE: who is hit now."""

    kind: OutcomeKind
    checkpoint: int
    scope: Scope
    time: float
    failed: float
    good: float

    @property
    def rate(self) -> float:
        return self.failed / max(1e-9, self.failed + self.good)


@frozen
class Detector:
    """All tests together. Immutable; `judge` returns the next one.

    `value` is the weighted sum of all tests, to be compared with `evidence.ACT`.
    """

    tests: tuple[ScopedTest, ...] = ()
    recents: tuple[Recent, ...] = ()
    share: ShareCheck = ShareCheck()
    value: float = 0.0

    @property
    def telling(self) -> tuple[Recent, ...]:
        """Who is hit, by the kind of outcome and the age that prove the most."""
        strongest = max(self.tests, key=lambda t: t.weight * t.process.value, default=None)
        if strongest is None:
            return ()
        told = (strongest.kind, strongest.checkpoint)
        return tuple(r for r in self.recents if (r.kind, r.checkpoint) == told)

    @property
    def suspicion(self) -> float:
        """All tests' suspicion, to be compared with `evidence.SUSPECT`."""
        return sum(test.weight * test.process.suspicion for test in self.tests)

    @property
    def main(self) -> ScopedTest | None:
        """The test of all flows by the youngest age's answers."""
        first = (OutcomeKind.ANSWERED, FIRST_CHECKPOINT, EVERYTHING)
        return next((t for t in self.tests if (t.kind, t.checkpoint, t.scope) == first), None)


def judge(
    detector: Detector, time: float, outcomes: Iterable[Outcomes], births: Iterable[Births]
) -> Detector:
    """The detector after more flows came of age."""
    tests = {(t.kind, t.checkpoint, t.scope): t.process for t in detector.tests}
    groups = _by_test(outcomes)
    # Older epochs first, because a test never goes back to one.
    for (epoch, kind, checkpoint), group in sorted(groups.items()):
        for scope, numbers in group.items():
            key = (kind, checkpoint, scope)
            former = tests.get(key)
            if former or _is_affordable(scope, tests):
                former = former or Process(block_since=time)
                tests[key] = update(former, time, Counts(*numbers), epoch)
    for key, process in tests.items():
        if process.updated < time and process.block.total:
            tests[key] = update(process, time, Counts(), process.epoch)
    judged = tuple(ScopedTest(*key, process) for key, process in tests.items())
    return Detector(
        tests=judged,
        recents=_recents(detector.recents, time, groups),
        share=_share(detector.share, births),
        value=combined((test.weight, test.process) for test in judged),
    )


def _by_test(outcomes: Iterable[Outcomes]) -> dict[tuple[int, OutcomeKind, int], _Group]:
    """Counts by epoch, kind and checkpoint, and then by scope."""
    groups: defaultdict[tuple[int, OutcomeKind, int], _Group] = defaultdict(dict)
    for row in outcomes:
        group, counts = groups[row.epoch, row.kind, row.checkpoint], row.counts
        for scope in _scopes(row.family, row.protocol, row.pair):
            numbers = group.get(scope)
            if numbers is None:
                numbers = group[scope] = [0, 0, 0, 0]
            numbers[0] += counts.treated_failed
            numbers[1] += counts.treated_good
            numbers[2] += counts.control_failed
            numbers[3] += counts.control_good
    return groups


@lru_cache(maxsize=64)
def _scopes(family: Family, protocol: Protocol, pair: Pair | None) -> tuple[Scope, ...]:
    scopes = (EVERYTHING, Scope(family=family), Scope(protocol=protocol))
    return (*scopes, Scope(pair=pair)) if pair else scopes


def _is_affordable(scope: Scope, tests: Iterable[_Key]) -> bool:
    pairs = {tested.pair for _, _, tested in tests if tested.pair}
    return scope.pair is None or scope.pair in pairs or len(pairs) < PAIRS_TESTED


def _recents(
    before: tuple[Recent, ...], time: float, groups: dict[tuple[int, OutcomeKind, int], _Group]
) -> tuple[Recent, ...]:
    added: defaultdict[_Key, list[int]] = defaultdict(lambda: [0, 0])
    for (_, kind, checkpoint), group in groups.items():
        for scope, (failed, good, *_) in group.items():
            numbers = added[kind, checkpoint, scope]
            numbers[0] += failed
            numbers[1] += good
    found = []
    for recent in before:
        keep = 0.5 ** (max(0.0, time - recent.time) / RECENT_HALF_LIFE)
        key = (recent.kind, recent.checkpoint, recent.scope)
        failed, good = added.pop(key, (0, 0))
        found.append(Recent(*key, time, recent.failed * keep + failed, recent.good * keep + good))
    found += (Recent(*key, time, *numbers) for key, numbers in added.items())
    return _busiest(found)


def _busiest(recents: list[Recent]) -> tuple[Recent, ...]:
    """Without the pairs that have next to no flows, when there are too many to be kept."""
    flows: defaultdict[Pair, float] = defaultdict(float)
    for recent in recents:
        if recent.scope.pair:
            flows[recent.scope.pair] += recent.failed + recent.good
    if len(flows) <= PAIRS_KNOWN:
        return tuple(recents)
    kept = set(sorted(flows, key=lambda pair: flows[pair], reverse=True)[:PAIRS_KNOWN])
    return tuple(r for r in recents if r.scope.pair is None or r.scope.pair in kept)


def _share(check: ShareCheck, births: Iterable[Births]) -> ShareCheck:
    for row in births:
        check = update_share(check, row.treated, row.control, 1 / row.control_share)
    return check


@frozen
class Blame:
    """Whom the evidence names: None where it does not tell one from another."""

    pairs: tuple[Pair, ...]
    devices: frozenset[str] | None
    family: Family | None
    protocol: Protocol | None

    def __str__(self) -> str:
        named = [str(n) for n in (self.family, self.protocol) if n]
        return " ".join([*named, *("-".join(pair) for pair in self.pairs)])


def blame(detector: Detector) -> Blame:
    """Which family, protocol and devices are hit, by what the fault spares.

    A device is hit when it is part of a pair that is hit and of none that is spared; when
    that leaves nobody, all devices of the pairs that are hit are.
    """
    recents = detector.telling
    pairs = [r for r in recents if r.scope.pair]
    hit = tuple(r.scope.pair for r in _hit(pairs) if r.scope.pair)
    spared = {name for r in pairs if r.scope.pair not in hit for name in r.scope.pair or ()}
    named = {name for pair in hit for name in pair}
    families = [r for r in recents if r.scope.family]
    protocols = [r for r in recents if r.scope.protocol]
    return Blame(
        pairs=hit if len(hit) < len(pairs) else (),
        devices=frozenset(named - spared or named) if named else None,
        family=_only([r.scope.family for r in _hit(families)], families),
        protocol=_only([r.scope.protocol for r in _hit(protocols)], protocols),
    )


def _hit(recents: list[Recent]) -> list[Recent]:
    """All but those that enough treated flows clear, compared with the worst one."""
    worst = max((r.rate for r in recents if r.failed >= TELLING_FAILURES), default=0.0)
    return [r for r in recents if not _is_cleared(r, worst)]


def _is_cleared(recent: Recent, worst: float) -> bool:
    expected = (recent.failed + recent.good) * worst
    return expected >= TELLING_FAILURES and recent.rate < worst * CLEARED_RATIO


def _only(hit: list[T | None], among: list[Recent]) -> T | None:
    return hit[0] if len(hit) == 1 and len(among) > 1 else None


def reset(detector: Detector) -> Detector:
    """No evidence at all; what `share` found broken stays broken."""
    return Detector(share=ShareCheck(broken=detector.share.broken))


@frozen
class Mute:
    """Until when the arms' evidence leads to nothing, after so many exonerations."""

    until: float = 0
    exonerations: int = 0


@frozen
class Evidence:
    """What the arms have shown while the devices stood on `levels`; a restart keeps it."""

    levels: tuple[tuple[str, Level], ...]
    detector: Detector
    mute: Mute
