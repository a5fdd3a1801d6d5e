# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be found and what is not, for the scenarios and for bench/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.lab import impair
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import Router
from tests.lab.kernel import LabError
from tests.lab.traffic import (
    Datagrams,
    Downloads,
    Ending,
    KeepAlives,
    Pattern,
    PortScan,
    Requests,
    Uploads,
)
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

# New TCP connections a second, all families and hosts together. An emulated router with
# two processors to itself sustains several times as many; on a busy machine it may not.
RATE = 20.0
ENDS = tuple((host, family) for host in ("lan1", "lan2") for family in (4, 6))
# Longer than any step takes, so that a connection that resumes after it can prove it.
PATIENCE = 600.0
# As long as it takes for those that were struck at its start to come of age.
TROUBLE_SECONDS = 25.0
OUTAGE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the engine, the levels that it must lead to and no lower, and the words
    of the evidence that name what it strikes, where not everything is struck."""

    name: str
    values: Mapping[str, int | str]
    levels: Mapping[str, str] = field(default_factory=lambda: all_on("software"))
    named: tuple[str, ...] = ()
    slow: bool = False

    def __str__(self) -> str:
        return self.name


FAULTS = (
    Fault("all flows", {"blackhole_flows": 100}, slow=True),
    Fault("half of the flows", {"blackhole_flows": 50}),
    Fault("a fifth of the flows", {"blackhole_flows": 20}, slow=True),
    Fault("one flow in twenty", {"blackhole_flows": 5}, slow=True),
    Fault("replies only", {"blackhole_packets": 100, "blackhole_direction": "reply"}, slow=True),
    Fault("IPv6 only", {"blackhole_packets": 100, "blackhole_family": 6}, named=("ipv6",)),
    Fault("UDP only", {"blackhole_packets": 100, "blackhole_protocol": 17}, named=("udp",)),
    Fault("large frames only", {"blackhole_packets": 100, "blackhole_min_frame": 1000}, slow=True),
    Fault("after 4000 bytes", {"blackhole_packets": 100, "blackhole_after_bytes": 4000}),
    Fault("wrong address", {"corrupt_nat": "address"}, slow=True),
    Fault(
        "one pair of two",
        {"blackhole_packets": 100, "blackhole_port": "lan1"},
        levels={"lan1": "software", "lan2": "hardware"},
        named=("lan1",),
    ),
)


def arriving(rate: float = RATE) -> tuple[Pattern, ...]:
    """New connections: `rate` a second over TCP, and a UDP flow for every fourth."""
    share = rate / len(ENDS)
    requests = (Requests(host=h, family=f, per_second=share) for h, f in ENDS)
    # Enough of them for the longest wait; their number is not what ends a batch.
    datagrams = (
        Datagrams(host=h, family=f, per_second=1.0, count=2000, spacing=4 / share) for h, f in ENDS
    )
    return (*requests, *datagrams)


def lasting(count: int = 2) -> tuple[Pattern, ...]:
    """Transfers that go on until they are stopped; `count` of each kind, host and family."""
    return tuple(
        kind(host=host, family=family, count=count, stall_limit=PATIENCE)
        for kind in (Downloads, Uploads)
        for host, family in ENDS
    )


@dataclass(frozen=True, slots=True)
class Quiet:
    """Trouble that is not the engine's, and how long it lasts in seconds.

    `background`: beside the usual traffic.
    """

    name: str
    impairment: Callable[[Router], AbstractContextManager[None]] = lambda router: nullcontext()
    patterns: tuple[Pattern, ...] = ()
    background: bool = True
    seconds: float = TROUBLE_SECONDS

    def __str__(self) -> str:
        return self.name


def _both_families(make: Callable[[int], Pattern]) -> tuple[Pattern, ...]:
    return tuple(make(family) for family in (4, 6))


QUIET = (
    Quiet(
        "outage of the WAN",
        lambda router: impair.outage(router.hosts["wan"]),
        seconds=OUTAGE_SECONDS,
    ),
    Quiet(
        "server that resets everything",
        patterns=_both_families(
            lambda f: Requests(family=f, per_second=5.0, ending=Ending.SERVER_RESETS)
        ),
    ),
    Quiet("loss of 30 %", lambda router: impair.loss(router.hosts["wan"], 30)),
    Quiet(
        "clients that vanish",
        lambda router: impair.silent_ends(router.hosts["lan1"]),
        patterns=_both_families(
            lambda f: Requests(
                family=f, per_second=2.0, response=200_000, ending=Ending.CLIENT_RESETS
            )
        ),
    ),
    Quiet("flaps of the WAN's link", lambda router: impair.flapping(router.hosts["wan"])),
    Quiet("port scan", patterns=_both_families(lambda f: PortScan(family=f))),
    Quiet(
        "burst of connections",
        patterns=_both_families(lambda f: Requests(family=f, per_second=2000.0, count=1000)),
    ),
    Quiet(
        "idle",
        patterns=_both_families(lambda f: KeepAlives(family=f, count=10, interval=20.0)),
        background=False,
    ),
    Quiet("full conntrack table", lambda router: impair.small_conntrack_table(router, 200)),
)


def steps_down(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The decisions that left hardware."""
    return [d for d in status["decisions"] if d["from"] == "hardware"]


def configure(daemon: Daemon) -> Daemon:
    """Started as these cases want it, on hardware."""
    daemon.configure("boot_delay '0'\nhold_off '300'")
    daemon.start().wait_for_levels(all_on("hardware"))
    return daemon


def endure(case: Quiet, daemon: Daemon, router: Router, traffic: Traffic) -> list[dict[str, Any]]:
    """Go through the trouble, up to a step or for so long; returns the steps down."""

    def stepped() -> bool:
        return bool(steps_down(daemon.status()))

    if case.background:
        traffic.start(*lasting(), *arriving())
    with case.impairment(router):
        if case.patterns:
            traffic.start(*case.patterns)
        with suppress(LabError):
            wait_for(stepped, "a step", case.seconds, interval=2)
    traffic.clear()
    return steps_down(daemon.status())
