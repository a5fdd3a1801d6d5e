# SPDX-License-Identifier: GPL-2.0-or-later
"""Beside rules that compare marks exactly, hardware is used, and its faults are found.

What the rules of each set-up do to connections is in tests/home; here they meet flowtables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.capture import Engine, hardware_flows, load_ruleset, tracked_connections
from tests.lab.cases import arriving, configure, lasting
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import Router
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

LIMIT = 180.0
MARK = 0x200
RESTORED = f"""
table inet labmarks {{
    chain in {{
        type filter hook prerouting priority mangle
        ct mark 0 ct mark set {MARK:#x}
        meta mark set ct mark
    }}
}}
"""
# Behind our own chains, so that a bit of ours would be seen.
EXACT = f"""
table inet labexact {{
    chain forward {{
        type filter hook forward priority filter + 20
        ct mark != {MARK:#x} drop
    }}
}}
"""
WAYS = (
    f"pref 1000 fwmark {MARK:#x} lookup main",
    *(f"pref 1001 iif lan{n} prohibit" for n in (1, 2)),
)


@contextmanager
def routed_by_mark(router: Router) -> Iterator[None]:
    """Only packets with exactly this mark find a way from the LAN."""
    families = ("-4", "-6")
    for family in families:
        for way in WAYS:
            router.namespace.run("ip", family, "rule", "add", *way.split())
    try:
        yield
    finally:
        for family in families:
            for way in WAYS:
                router.namespace.run("ip", family, "rule", "delete", *way.split())


@pytest.mark.parametrize("set_up", ["unmasked", "exact"])
def test_a_fault_is_found_where_marks_are_compared_exactly(
    daemon: Daemon, engine: Engine, router: Router, traffic: Traffic, set_up: str
) -> None:
    configure(daemon)
    load_ruleset(RESTORED if set_up == "unmasked" else RESTORED + EXACT)
    with routed_by_mark(router):
        transfers = traffic.start(*lasting())
        transfers.wait_until_flowing()
        traffic.start(*arriving())
        wait_for(lambda: hardware_flows() >= transfers.wanted, "flows in hardware")
        assert {c.mark for c in tracked_connections() if c.in_hardware} == {MARK}
        with engine.fault(blackhole_flows=50):
            daemon.wait_for_levels(all_on("software"), LIMIT)
            assert len(transfers.stop().alive) == transfers.wanted
