# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon that cannot stay up, or may not run, leaves no flow in hardware without a guard."""

from __future__ import annotations

import time

import pytest

from tests.lab.capture import Engine, hardware_flows
from tests.lab.daemon import Daemon, all_on
from tests.lab.kernel import LabError
from tests.lab.namespace import run
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.traffic.patterns import Downloads
from tests.lab.wait import wait_for

ALL_HARDWARE = all_on("hardware")
ALL_SOFTWARE = all_on("software")
TIMEOUT = "net.netfilter.nf_flowtable_tcp_timeout"


def flowing(daemon: Daemon, traffic: Traffic, count: int) -> Batch:
    """So many downloads, and hardware in use."""
    daemon.start().wait_for_levels(ALL_HARDWARE)
    batch = traffic.start(Downloads(count=count))
    batch.wait_until_flowing()
    return batch


def test_one_that_keeps_dying_is_kept_from_hardware(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    before = run("sysctl", "-n", TIMEOUT)
    batch = flowing(daemon, traffic, 20)
    for _ in range(4):
        daemon.kill()
        daemon.start()
    daemon.wait_for_levels(ALL_HARDWARE)
    daemon.kill()
    daemon.start().wait_for_levels(ALL_SOFTWARE)
    assert engine.bound() == []
    assert run("sysctl", "-n", TIMEOUT) == before
    assert any("died 5 times" in problem for problem in daemon.status()["problems"])
    assert not batch.report().lost
    daemon.cli("retry")
    daemon.wait_for_levels(ALL_HARDWARE)
    report = batch.stop()
    assert len(report.alive) == 20, report


def test_one_that_was_told_to_end_is_not_counted(daemon: Daemon, engine: Engine) -> None:
    for _ in range(7):
        daemon.start().wait_for_levels(ALL_HARDWARE)
        daemon.stop()
    daemon.start().wait_for_levels(ALL_HARDWARE)
    assert daemon.status()["problems"] == []


@pytest.mark.parametrize(
    ("configuration", "said", "left"),
    [
        ("config flowguard 'glob", "not valid UCI", ["table inet flowguard_sw"]),
        ("config flowguard 'globals'", "not enabled", []),
    ],
    ids=["damaged", "disabled"],
)
def test_one_that_may_not_run_leaves_no_flow_in_hardware(
    daemon: Daemon,
    engine: Engine,
    traffic: Traffic,
    configuration: str,
    said: str,
    left: list[str],
) -> None:
    batch = flowing(daemon, traffic, 20)
    daemon.kill()
    daemon.configuration.write_text(configuration)
    with pytest.raises(LabError) as failed:
        daemon.start()
    assert said in str(failed.value)
    tables = run("nft", "list", "tables").splitlines()
    assert [table for table in tables if "flowguard" in table] == left
    assert engine.bound() == []
    report = batch.stop()
    assert len(report.alive) == 20, report


def test_one_that_is_ended_while_it_leaves_hardware_puts_the_timeouts_back(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    before = run("sysctl", "-n", TIMEOUT)
    batch = flowing(daemon, traffic, 10)
    wait_for(lambda: hardware_flows() > 5, "flows in hardware", state=daemon.status)
    daemon.kill()
    daemon.configure("enabled '0'")
    with engine.fault(forget_destroy=1):
        daemon.launch()
        wait_for(lambda: run("sysctl", "-n", TIMEOUT).strip() == "0", "the drain's timeout")
        daemon.stop()
    assert run("sysctl", "-n", TIMEOUT) == before
    assert not batch.stop().lost


@pytest.mark.parametrize("seconds", [0, 0.1, 0.3])
def test_a_release_while_it_starts_leaves_nothing(
    daemon: Daemon, engine: Engine, seconds: float
) -> None:
    before = run("sysctl", "-n", TIMEOUT)
    daemon.start().wait_for_levels(ALL_HARDWARE)
    daemon.kill()
    daemon.launch()
    lock = daemon.socket.with_name("lock")
    # Before that it is a release before a start, which that start does not have to heed.
    wait_for(lambda: lock.read_text().strip() == str(daemon.pid), "it to have begun", interval=0.01)
    # Waiting is the point here: each release meets another stage of the start.
    time.sleep(seconds)
    daemon.stop("release")
    assert "flowguard" not in run("nft", "list", "tables")
    assert engine.bound() == []
    assert run("sysctl", "-n", TIMEOUT) == before
