# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of every connection. Times are seconds of the monotonic clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum


class Fate(StrEnum):
    """As the client saw it: when only the server was reset, the client stalls."""

    ALIVE = "alive"
    COMPLETED = "completed"
    # Established, then lost:
    RESET = "reset"
    TRUNCATED = "truncated"
    CORRUPTED = "corrupted"
    STALLED = "stalled"
    # Never established:
    REFUSED = "refused"
    TIMED_OUT = "timed_out"


LOST = frozenset({Fate.RESET, Fate.TRUNCATED, Fate.CORRUPTED, Fate.STALLED})
UNREACHABLE = frozenset({Fate.REFUSED, Fate.TIMED_OUT})


@dataclass(frozen=True, slots=True)
class ConnectionResult:
    """The life of one connection, as its client saw it.

    `sent` and `received` are payload bytes; for TCP `sent` is what the server confirmed.
    A gap is time in which progress was due and did not come: `longest_gap` seconds at
    most, beginning at `longest_gap_at`; `silent_for` is the one that still lasts.
    `established` and `ended` are None when that never happened.
    `lost_datagrams` were sent without an echo, while later ones were echoed.
    """

    number: int
    kind: str
    host: str
    family: int
    fate: Fate
    local_port: int
    remote: str
    remote_port: int
    sent: int
    received: int
    started: float
    established: float | None
    ended: float | None
    longest_gap: float
    longest_gap_at: float
    silent_for: float
    lost_datagrams: int
    detail: str

    def __str__(self) -> str:
        what = f"{self.kind} {self.number} {self.host}:{self.local_port} -> {self.remote}"
        state = f"{self.fate} after {self.sent} bytes out, {self.received} in"
        gap = f"longest gap {self.longest_gap:.1f} s, silent for {self.silent_for:.1f} s"
        return f"{what} port {self.remote_port}: {state}; {gap} {self.detail}".rstrip()


@dataclass(frozen=True, slots=True)
class Report:
    """The connections of a batch; printing it shows the sums and the first that went wrong."""

    results: tuple[ConnectionResult, ...]

    def with_fate(self, *fates: Fate) -> tuple[ConnectionResult, ...]:
        return tuple(r for r in self.results if r.fate in fates)

    @property
    def lost(self) -> tuple[ConnectionResult, ...]:
        """Those that broke after they had been established."""
        return self.with_fate(*LOST)

    @property
    def unreachable(self) -> tuple[ConnectionResult, ...]:
        """Those that could not be established."""
        return self.with_fate(*UNREACHABLE)

    @property
    def alive(self) -> tuple[ConnectionResult, ...]:
        return self.with_fate(Fate.ALIVE)

    @property
    def completed(self) -> tuple[ConnectionResult, ...]:
        return self.with_fate(Fate.COMPLETED)

    @property
    def flowing(self) -> tuple[ConnectionResult, ...]:
        """Those alive that have moved payload."""
        return tuple(r for r in self.alive if r.sent or r.received)

    def silent(self, seconds: float) -> tuple[ConnectionResult, ...]:
        """Those alive whose progress has been due for at least so long."""
        return tuple(r for r in self.alive if r.silent_for >= seconds)

    @property
    def sent(self) -> int:
        return sum(r.sent for r in self.results)

    @property
    def received(self) -> int:
        return sum(r.received for r in self.results)

    @property
    def longest_gap(self) -> float:
        return max((r.longest_gap for r in self.results), default=0.0)

    @property
    def lost_datagrams(self) -> int:
        return sum(r.lost_datagrams for r in self.results)

    def __str__(self) -> str:
        fates = Counter(r.fate.value for r in self.results)
        lines = [
            f"{len(self.results)} connections: "
            + ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items()))
            + f"; {self.sent / 1e6:.1f} MB out, {self.received / 1e6:.1f} MB in"
            + f"; longest gap {self.longest_gap:.1f} s; {self.lost_datagrams} datagrams lost"
        ]
        return "\n  ".join([*lines, *map(str, (*self.lost, *self.unreachable)[:10])])


def merge(reports: Iterable[Report]) -> Report:
    return Report(tuple(r for report in reports for r in report.results))


_NAMES = tuple(field.name for field in fields(ConnectionResult))


def encode(results: Iterable[ConnectionResult]) -> list[list[object]]:
    """The results as JSON can carry them, without names, because there are many."""
    return [[getattr(result, name) for name in _NAMES] for result in results]


def decode(rows: Iterable[list[object]]) -> Report:
    """The report whose results `encode` wrote."""
    fate = _NAMES.index("fate")
    results = []
    for row in rows:
        row[fate] = Fate(str(row[fate]))
        results.append(ConnectionResult(*row))  # type: ignore[arg-type]
    return Report(tuple(results))
