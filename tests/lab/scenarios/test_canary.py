# SPDX-License-Identifier: GPL-2.0-or-later
"""The way back up: a share of the new flows first, and what people may ask for."""

from __future__ import annotations

from functools import partial

import pytest

from tests.lab.capture import (
    Engine,
    TrackedConnection,
    control_arm,
    hardware_flows,
    software_flows,
    tracked_connections,
)
from tests.lab.cases import arriving
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import SERVER_PORT
from tests.lab.traffic import Downloads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for


def convicted(daemon: Daemon, engine: Engine, traffic: Traffic, options: str = "") -> Batch:
    """Everything held off after a warning, with downloads running in software."""
    daemon.configure(f"boot_delay '0'\nhold_off '300'\n{options}")
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=20, rate=20_000))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() > 10, "flows in hardware", 90, state=daemon.status)
    with engine.fault(warn_on_replace=1):
        traffic.start(Downloads(count=10, rate=20_000, host="lan2")).wait_until_flowing()
        daemon.wait_for_levels(all_on("software"))
    wait_for(lambda: hardware_flows() == 0 and not engine.bound(), "an empty engine", 60)
    return batch


def stage_is(daemon: Daemon, share: int | None) -> bool:
    canary = daemon.status()["control"]["canary"]
    return (canary["share"] if canary else None) == share


def downloads() -> list[TrackedConnection]:
    return [c for c in tracked_connections() if c.original.destination_port == SERVER_PORT]


def only_the_treated_are_in_hardware() -> bool:
    found = downloads()
    control = control_arm(found)
    return all(c.in_hardware is (c not in control) for c in found)


def test_the_way_back_up_begins_with_one_flow_in_sixteen(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    batch = convicted(daemon, engine, traffic)
    wait_for(lambda: software_flows() >= 20, "the flows in software", 90)
    daemon.cli("retry")
    status = daemon.wait_for_levels(all_on("hardware"))
    assert status["state"] == "canary"
    assert status["control"]["canary"]["share"] == 16
    assert {d["canary"] for d in status["devices"]} == {16}
    more = traffic.start(Downloads(count=160, rate=2_000, host="lan2"))
    more.wait_until_flowing()
    # Binomial: 12 expected of 190, those of before among them; three standard deviations of 3.3.
    wait_for(
        lambda: 0 < hardware_flows() <= 22 and only_the_treated_are_in_hardware(),
        "the treated flows, and no others, in hardware",
        90,
        state=daemon.status,
    )
    assert not batch.stop().lost
    assert not more.stop().lost


def test_hold_suspend_and_forget(daemon: Daemon, engine: Engine, traffic: Traffic) -> None:
    batch = convicted(daemon, engine, traffic)
    assert "(strike" in daemon.log.read_text()
    daemon.cli("forget")
    daemon.wait_for_levels(all_on("hardware"))
    assert {d["strikes"] for d in daemon.status()["devices"]} == {0}
    daemon.cli("hold", "1h")
    daemon.wait_for_levels(all_on("software"))
    daemon.cli("suspend")
    status = daemon.wait_for_levels(all_on("none"))
    assert status["suspended"]
    wait_for(lambda: hardware_flows() + software_flows() == 0, "no flow to be offloaded")
    daemon.cli("hold", "0")
    daemon.cli("resume")
    daemon.wait_for_levels(all_on("hardware"))
    assert not batch.stop().lost


@pytest.mark.slow
def test_a_healthy_engine_passes_stage_by_stage(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    convicted(daemon, engine, traffic, "canary_soak '30'").stop()
    traffic.start(*arriving())
    daemon.cli("retry")
    for share in (16, 4, None):
        wait_for(
            partial(stage_is, daemon, share),
            f"the stage of one in {share}",
            900,
            interval=2,
            state=daemon.status,
        )
    status = daemon.status()
    assert status["state"] == "steady" and {d["level"] for d in status["devices"]} == {"hardware"}
    passed = [d["reason"] for d in status["decisions"] if "canary" in d["reason"]]
    assert len(passed) == 6
