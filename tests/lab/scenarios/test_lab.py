# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab itself, without flowguard: is the engine an engine, and are its faults faults?"""

from __future__ import annotations

import pytest

from tests.lab.capture import (
    Engine,
    flowtable,
    hardware_flows,
    load_ruleset,
    software_flows,
)
from tests.lab.kernel_differences import entries_per_flow
from tests.lab.traffic import Datagrams, Downloads, Pattern, Uploads
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for


def steady(family: int, count: int = 3) -> list[Pattern]:
    """Long-lived flows of both protocols from both LANs."""
    return [
        Downloads(family=family, count=count),
        Uploads(family=family, count=count, host="lan2"),
        Datagrams(family=family, count=count),
    ]


@pytest.mark.parametrize("family", [4, 6])
def test_engine_forwards(engine: Engine, traffic: Traffic, family: int) -> None:
    load_ruleset(flowtable())
    batch = traffic.start(*steady(family), *inbound(family))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 11, "11 flows in hardware")
    entries = engine.bound()
    assert len(entries) == 11 * entries_per_flow(), "\n".join(entries)
    hits = engine.counter("hits")
    wait_for(lambda: engine.counter("hits") > hits + 200, "hits", state=batch.report)
    report = batch.stop()
    assert len(report.alive) == 11, report


def inbound(family: int) -> list[Pattern]:
    return [Downloads(family=family, host="wan"), Uploads(family=family, host="wan")]


def test_software_flowtable_stays_off_the_engine(engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable(hardware=False))
    batch = traffic.start(*steady(4))
    batch.wait_until_flowing()
    wait_for(
        lambda: software_flows() == 9,
        "9 flows in software",
    )
    assert engine.bound() == []
    assert not batch.stop().lost


def test_blackhole_stalls_and_clearing_it_heals(engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable())
    batch = traffic.start(*steady(4), *steady(6))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 18, "18 flows in hardware")
    with engine.fault(blackhole_packets=100):
        wait_for(lambda: len(batch.report().silent(5)) == 18, "stalls", state=batch.report)
    report = batch.stop()
    assert len(report.alive) == 18, report
    assert report.longest_gap >= 5
    assert report.lost_datagrams


def test_blackhole_of_one_family_spares_the_other(engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable())
    spared, struck = traffic.start(*steady(4)), traffic.start(*steady(6))
    spared.wait_until_flowing()
    struck.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 18, "18 flows in hardware")
    with engine.fault(blackhole_packets=100, blackhole_family=6):
        wait_for(lambda: len(struck.report().silent(5)) == 9, "stalls", state=struck.report)
        assert spared.report().silent(3) == ()
        assert len(spared.stop().alive) == 9


def test_corrupted_nat_is_no_forwarding(engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable())
    batch = traffic.start(Datagrams(stall_limit=5.0), Downloads(stall_limit=5.0))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 2, "2 flows in hardware")
    with engine.fault(corrupt_nat="address"):
        wait_for(lambda: len(batch.report().lost) == 2, "losses", state=batch.report)


def test_refused_flows_run_in_software(engine: Engine, traffic: Traffic) -> None:
    engine.set_fault("refuse_errno", 95)
    load_ruleset(flowtable())
    batch = traffic.start(*steady(4))
    batch.wait_until_flowing()
    wait_for(lambda: engine.counter("refused") > 0, "refusals")
    assert hardware_flows() == 0
    assert engine.bound() == []
    assert not batch.stop().lost


def test_stale_entries_outlive_the_flowtable(engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable())
    batch = traffic.start(*steady(4))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 9, "9 flows in hardware")
    load_ruleset("delete table inet labft")
    wait_for(lambda: hardware_flows() == 0, "flows out of the flowtable")
    assert len(engine.bound()) == 9 * entries_per_flow()
    assert not batch.stop().lost
