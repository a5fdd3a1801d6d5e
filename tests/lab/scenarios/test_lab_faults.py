# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scenarios of dropped connections are made of, seen without flowguard."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.capture import (
    Engine,
    flowtable,
    load_ruleset,
    tracked_connections,
)
from tests.lab.cases import ENDS, RATE
from tests.lab.hosts import Router
from tests.lab.impair import flapping, outage, small_conntrack_table, unplugged
from tests.lab.kernel_differences import entries_per_flow
from tests.lab.traffic import Datagrams, Downloads, Requests, Uploads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for


def offloaded(traffic: Traffic, *patterns: Downloads | Uploads | Datagrams) -> Batch:
    batch = traffic.start(*patterns)
    batch.wait_until_flowing()
    ports = {result.local_port for result in batch.report().results}
    # Those of the last scenario may still be leaving.
    wait_for(
        lambda: (
            sum(c.in_hardware and c.original.source_port in ports for c in tracked_connections())
            == batch.wanted
        ),
        "flows in hardware",
        state=tracked_connections,
    )
    return batch


def lan(host: str, family: int) -> tuple[Downloads, Uploads, Datagrams]:
    return (
        Downloads(host=host, family=family),
        Uploads(host=host, family=family),
        Datagrams(host=host, family=family),
    )


def test_blackhole_of_one_port_spares_the_pair_beside_it(engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable())
    struck = offloaded(traffic, *lan("lan1", 4), *lan("lan1", 6))
    spared = offloaded(traffic, *lan("lan2", 4), *lan("lan2", 6))
    with engine.fault(blackhole_packets=100, blackhole_port="lan1"):
        wait_for(lambda: len(struck.report().silent(5)) == 6, "stalls", state=struck.report)
        assert spared.report().silent(3) == ()
    assert len(struck.stop().alive) == 6
    assert len(spared.stop().alive) == 6


@pytest.mark.parametrize("family", [4, 6])
def test_blackhole_of_the_port_that_all_share_strikes_all(
    engine: Engine, traffic: Traffic, family: int
) -> None:
    load_ruleset(flowtable())
    batch = offloaded(traffic, *lan("lan1", family), *lan("lan2", family))
    with engine.fault(blackhole_packets=100, blackhole_port="wan"):
        wait_for(lambda: len(batch.report().silent(5)) == 6, "stalls", state=batch.report)
    assert len(batch.stop().alive) == 6


def test_half_bound_flows_are_known_and_leave_one_way_to_the_stack(
    engine: Engine, traffic: Traffic
) -> None:
    load_ruleset(flowtable())
    with engine.fault(bind_direction="original"):
        batch = offloaded(traffic, *lan("lan1", 4), *lan("lan2", 6))
        # The last scenario's connections may still be closing, and are offloaded as well.
        states = [line.split()[1] for line in engine.entries()]
        # Where the driver is not told of replies, there is no other half to be known.
        assert states.count("UNB") == (entries_per_flow() - 1) * states.count("BND")
        assert states.count("BND") >= 6
        assert all(line.split()[1] == "BND" for line in engine.bound())
        hits = engine.counter("hits")
        wait_for(lambda: engine.counter("hits") > hits + 50, "hits", state=batch.report)
    assert len(batch.stop().alive) == 6


def test_large_frames_only(engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable())
    # The way of an upload is the one that every kernel tells the driver of.
    small, large = offloaded(traffic, Datagrams(size=64)), offloaded(traffic, Uploads())
    with engine.fault(blackhole_packets=100, blackhole_min_frame=1000):
        wait_for(lambda: len(large.report().silent(5)) == 1, "a stall", state=large.report)
        assert small.report().silent(3) == ()
    assert len(large.stop().alive) == 1
    assert small.stop().lost_datagrams == 0


def test_outage_stalls_what_hardware_forwards_too(
    router: Router, engine: Engine, traffic: Traffic
) -> None:
    load_ruleset(flowtable())
    batch = offloaded(traffic, *lan("lan1", 4), *lan("lan2", 6))
    with outage(router.hosts["wan"]):
        wait_for(lambda: len(batch.report().silent(5)) == 6, "stalls", state=batch.report)
    assert len(batch.stop().alive) == 6


def test_pulled_cable_stops_the_engine_as_well(
    router: Router, engine: Engine, traffic: Traffic
) -> None:
    load_ruleset(flowtable())
    pulled, other = offloaded(traffic, *lan("lan1", 4)), offloaded(traffic, *lan("lan2", 6))
    with unplugged(router.hosts["lan1"]):
        wait_for(lambda: "NO-CARRIER" in router.namespace.links()["lan1"]["flags"], "no carrier")
        wait_for(lambda: len(pulled.report().silent(5)) == 3, "stalls", state=pulled.report)
        assert other.report().silent(3) == ()
    assert len(pulled.stop().alive) == 3
    assert len(other.stop().alive) == 3


def test_flaps_come_again_and_again(router: Router, engine: Engine, traffic: Traffic) -> None:
    load_ruleset(flowtable())
    batch = offloaded(traffic, *lan("wan", 6))

    def carrier_changes() -> int:
        return int(Path("/sys/class/net/wan/carrier_changes").read_text())

    before = carrier_changes()
    with flapping(router.hosts["wan"], down=0.5, up=1.0):
        wait_for(lambda: carrier_changes() >= before + 6, "three flaps")
    assert len(batch.stop().alive) == 3


def test_full_conntrack_table_keeps_new_connections_out(
    router: Router, engine: Engine, traffic: Traffic
) -> None:
    load_ruleset(flowtable())
    old = offloaded(traffic, *lan("lan1", 4))
    with small_conntrack_table(router, 4):
        filling = traffic.start(Requests(count=30, per_second=10.0, stall_limit=3.0))
        wait_for(lambda: len(filling.report().unreachable) > 5, "refusals", state=filling.report)
        assert old.report().silent(3) == ()
    assert len(old.stop().alive) == 3


def test_the_router_loses_no_request_at_twice_the_rate_of_the_scenarios(
    engine: Engine, traffic: Traffic
) -> None:
    """How fast they are done depends on the machine, and is not what counts."""
    load_ruleset(flowtable())
    patterns = [
        Requests(host=host, family=family, per_second=2 * RATE / len(ENDS), count=200)
        for host, family in ENDS
    ]
    batch = traffic.start(*patterns)
    wait_for(
        lambda: len(batch.report().completed) == batch.wanted, "all", limit=120, state=batch.report
    )
