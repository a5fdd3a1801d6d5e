# SPDX-License-Identifier: GPL-2.0-or-later
"""Trouble that is not the engine's, and faults that are, in virtual time.

Run: python -m bench.trouble --runs 30 [--only TEXT]
     python -m bench.trouble faults --runs 20 [--only TEXT]

Simulated connections go through the real observer and the real policy: a look every five
seconds of virtual time, arms drawn as the policy asks, no kernel. No trouble may lead to a
step down; each fault must, and it is asked whether what it hits was named.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from bench.connections import (
    PAIRS,
    BucketInMark,
    Connection,
    Life,
    Side,
    Trouble,
    pair_of,
)
from bench.evidence import numbers, poisson
from bench.virtual import UPTIME, Router, quantile
from flowguard.core.events import Converge
from flowguard.core.model import Family, Level, Protocol
from flowguard.core.records import replace
from flowguard.kernel.conntrack import Entry
from flowguard.sensors.arms.census import Census

LOOK = 5.0
QUIET_BEFORE, QUIET_AFTER = 300.0, 360.0
GIVE_UP = 3 * 3600.0
ARRIVALS = 1.0  # seconds: connections are drawn in batches of this length
NATURAL = (
    Trouble(Side.FAR, flows=0.01),
    Trouble(Side.GONE, flows=0.01),
    Trouble(Side.RESET, flows=0.01),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A trouble of both arms that lasts `seconds`, at `rate` connections a second."""

    name: str
    troubles: tuple[Trouble, ...] = ()
    seconds: float = 120.0
    rate: float = 3.0
    burst: float = 0.0  # connections a second while it lasts
    scan: int = 0  # unanswered handshakes a second while it lasts
    refused: float = 0.0  # share of new flows, and closing connections leave at once
    lag: float = 0.0  # seconds, at most, that hardware counters are late
    apart: bool = False  # the counters of each direction are late by themselves
    interval: tuple[float, float] = (LOOK, LOOK)
    missed: float = 0.0  # share of the looks
    behaviour: str = ""


def _flaps(side: Side) -> tuple[Trouble, ...]:
    """The link is away three seconds, again and again."""
    return tuple(Trouble(side, 10.0 * n, 10.0 * n + 3) for n in range(12))


def _vanishing() -> tuple[Trouble, ...]:
    """Every ten seconds a fifth of the flows lose their client, for good."""
    return tuple(Trouble(Side.GONE, 10.0 * n, flows=0.2) for n in range(12))


OUTAGE = Trouble(Side.FAR, 0, 120)
QUIET = (
    Case("nothing"),
    Case("wan is away for 2 minutes", (OUTAGE,)),
    Case("the same at 10/s", (OUTAGE,), rate=10.0),
    Case("wan is away one way", (Trouble(Side.NEAR, 0, 120),)),
    Case("a server resets everything", (Trouble(Side.RESET, 0, 120, flows=0.5),)),
    Case("30 % loss on wan", (Trouble(Side.FAR, 0, 120, 0.15), Trouble(Side.NEAR, 0, 120, 0.15))),
    Case("clients vanish", _vanishing()),
    Case("wan flaps", _flaps(Side.FAR)),
    Case("lan flaps", _flaps(Side.GONE)),
    Case("port scan", scan=100),
    Case("2000 connections/s", seconds=10, burst=2000.0),
    Case("idle night", seconds=4 * 3600, rate=0.02, behaviour="push"),
    Case("conntrack table full", refused=0.8, seconds=240),
    Case("counters lag 2 s", seconds=900, rate=10, lag=2),
    Case("counters lag 2 s, each way", seconds=900, rate=10, lag=2, apart=True),
    Case("the same and an outage", (OUTAGE,), rate=10, lag=2, apart=True),
    Case("looks jitter 3 to 9 s", (OUTAGE,), rate=10, interval=(3, 9)),
    Case("jitter, and each way lags", seconds=900, rate=10, lag=2, apart=True, interval=(3, 9)),
    Case("a third of the looks missed", (OUTAGE,), rate=10, missed=0.33),
)


def _fault(side: Side = Side.FAR, **changes: object) -> Trouble:
    made = Trouble(side, begin=UPTIME + QUIET_BEFORE, treated_only=True)
    return replace(made, **changes)  # type: ignore[arg-type]


FAULTS = (
    ("all flows", _fault(), ""),
    ("half of the flows", _fault(flows=0.5), ""),
    ("a fifth of the flows", _fault(flows=0.2), ""),
    ("one flow in twenty", _fault(flows=0.05), ""),
    ("replies only", _fault(Side.NEAR), ""),
    ("IPv6 only", _fault(family=Family.IPV6), "ipv6"),
    ("UDP only", _fault(protocol=Protocol.UDP), "udp"),
    ("one pair only", _fault(pair=PAIRS[1]), "lan2-wan"),
)


@dataclass
class Net:
    """The router with its connections; `pass_time` lets them come, be looked at and go."""

    rng: random.Random
    case: Case
    troubles: tuple[Trouble, ...] = NATURAL
    router: Router = field(default_factory=lambda: Router().start())
    time: float = UPTIME
    born: int = 0
    flows: list[Connection] = field(default_factory=list)
    scanned: list[tuple[float, Connection]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.observer = Census(pair_of, ends_are_visible=True)
        self._levels: tuple[tuple[str, Level], ...] = ()
        self._begin(self.router.changes[-1])

    def pass_time(self, until: float, in_trouble: bool = False) -> bool:
        """Whether there was a step down, which ends it."""
        while self.time < until:
            before, self.time = self.time, self.time + self.rng.uniform(*self.case.interval)
            self._arrive(before, self.time, in_trouble)
            if self.rng.random() >= self.case.missed and self._look(in_trouble):
                return True
        return False

    def _arrive(self, begin: float, end: float, in_trouble: bool) -> None:
        case = self.case
        rate = case.rate + (case.burst if in_trouble else 0.0)
        rate *= 1 - (case.refused if in_trouble else 0.0)
        for _ in range(poisson(self.rng, round(rate * (end - begin), 1))):
            if self.rng.random() < 1 / self.router.observe_share:
                flow = self._draw()
                life = Life(flow, self.rng, list(self.troubles))
                if life.write(self.rng.uniform(begin, end), case.behaviour):
                    self.flows.append(flow)
        if in_trouble:
            scanned = range(int(case.scan * (end - begin)))
            self.scanned += [(end + 30, self._draw()) for _ in scanned]

    def _draw(self) -> Connection:
        self.born += 1
        return Connection(self.born, self.rng, self.router.control_share)

    def _look(self, in_trouble: bool) -> bool:
        early = in_trouble and self.case.refused > 0
        gone = [f for f in self.flows if self.time >= (f.ended if early else f.gone)]
        # A DESTROY event has no timeout when the connection expired.
        self.observer.destroyed(e._replace(timeout=None) for e in self._entries(gone))
        if gone:
            left = {f.number for f in gone}
            self.flows = [f for f in self.flows if f.number not in left]
        self.scanned = [(end, f) for end, f in self.scanned if end > self.time]
        unanswered = [f.entry(self.time, (0, 0))._replace(status=0) for _, f in self.scanned]
        self.observer.look(self.time, [*self._entries(self.flows), *unanswered])
        judged = self.observer.judge(self.time)
        known = len(self.router.changes)
        stepped = self.router.judge(judged)
        for change in self.router.changes[known:]:
            self._begin(change)
        return stepped

    def _entries(self, flows: list[Connection]) -> Iterator[Entry]:
        lag, rng, none = self.case.lag, self.rng, (0.0, 0.0)
        for flow in flows:
            late = none
            if lag and not flow.control:
                original = rng.uniform(0, lag)
                late = original, rng.uniform(0, lag) if self.case.apart else original
            yield flow.entry(self.time, late)

    def _begin(self, change: Converge) -> None:
        """As flowguard.observation does it."""
        share = change.draw.control_share or self.router.state.settings.control_share
        anew = change.levels != self._levels
        self.observer.begin(change.epoch, BucketInMark(share), in_hardware=True, anew=anew)
        self._levels = change.levels


def endure(case: Case, seed: int) -> Router:
    """A quiet time, the trouble, and a quiet time again."""
    begin = UPTIME + QUIET_BEFORE
    shifted = [replace(t, begin=t.begin + begin, end=t.end + begin) for t in case.troubles]
    net = Net(random.Random(seed), case, (*NATURAL, *shifted))
    end = begin + case.seconds
    if not net.pass_time(begin) and not net.pass_time(end, in_trouble=True):
        net.pass_time(end + QUIET_AFTER)
    return net.router


def show_quiet(runs: int, only: str) -> None:
    print(f"{'trouble of both arms':<30}runs  with a step  highest evidence  suspicious  epochs")
    for case in QUIET:
        if only not in case.name:
            continue
        routers = [endure(case, seed) for seed in range(runs)]
        suspicious = sum(r.suspicious for r in routers) / sum(r.looks for r in routers)
        print(
            f"{case.name:<30}{runs:4}{sum(bool(r.steps) for r in routers):13}"
            f"{max(r.peak for r in routers):18.3g}{suspicious:12.2%}"
            f"{max(r.state.epoch for r in routers):8}",
            flush=True,
        )
        for step in [r.steps[0] for r in routers if r.steps][:1]:
            print(f"    {step}")


def find(trouble: Trouble, rate: float, seed: int) -> tuple[float, str]:
    """Seconds until the step down, and its reason; (GIVE_UP, "") when there was none."""
    net = Net(random.Random(seed), Case("fault", rate=rate), (*NATURAL, trouble))
    if net.pass_time(trouble.begin) or not net.pass_time(trouble.begin + GIVE_UP):
        return GIVE_UP, ""
    return net.time - trouble.begin, net.router.steps[-1].reason


def show_faults(runs: int, only: str, rates: list[float]) -> None:
    print(f"{'fault of treated flows':<24} rate  runs  found  named   median     90 %  reason")
    for name, trouble, named in FAULTS:
        for rate in rates:
            if only not in name:
                continue
            found = [find(trouble, rate, seed) for seed in range(runs)]
            delays = [delay for delay, _ in found]
            reasons = [reason for _, reason in found if reason]
            said = f"{sum(named in r for r in reasons)}" if named else "-"
            print(
                f"{name:<24}{rate:3g}/s{runs:6}{len(reasons):7}{said:>7}"
                f"{median(delays):7.0f} s{quantile(delays, 0.9):7.0f} s"
                f"  {reasons[0] if reasons else ''}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Trouble and faults in virtual time.")
    parser.add_argument("what", nargs="?", default="quiet", choices=("quiet", "faults"))
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--only", default="", help="what has this in its name")
    parser.add_argument("--rates", type=numbers, default=[1.0, 10.0])
    options = parser.parse_args()
    if options.what == "faults":
        show_faults(options.runs, options.only, options.rates)
    else:
        show_quiet(options.runs, options.only)


if __name__ == "__main__":
    main()
