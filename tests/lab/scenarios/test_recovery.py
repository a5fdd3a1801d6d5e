# SPDX-License-Identifier: GPL-2.0-or-later
"""Killed daemons, other people's nft commands, devices that come and go."""

from __future__ import annotations

import random
import time

import pytest

from tests.lab.capture import (
    Engine,
    flowtable,
    hardware_flows,
    load_ruleset,
)
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import LAN2, Router
from tests.lab.kernel import LabError
from tests.lab.namespace import run
from tests.lab.traffic import Downloads, Uploads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

ALL_HARDWARE = all_on("hardware")
ALL_SOFTWARE = all_on("software")
TIMEOUT = "net.netfilter.nf_flowtable_tcp_timeout"


def forty(traffic: Traffic) -> Batch:
    batch = traffic.start(Downloads(count=20), Uploads(count=20, host="lan2", family=6))
    batch.wait_until_flowing()
    return batch


def test_kill_9_at_any_moment_loses_no_connection(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    daemon.start().wait_for_levels(ALL_HARDWARE)
    batch = forty(traffic)
    moments = random.Random(6)
    for _ in range(20):
        level = moments.choice(("hardware", "software", "none"))
        daemon.set_level(level)
        # Waiting is the point here: each kill meets another stage of the change.
        time.sleep(moments.uniform(0, 6))
        daemon.kill()
        # That one dies so often is not the point here, and would end the changes.
        (daemon.socket.parent / "runs").unlink()
        daemon.start()
        assert not batch.report().lost, batch.report()
    wanted = daemon.status()["wanted"]
    daemon.wait_for_levels(all_on(wanted))
    daemon.set_level("hardware")
    daemon.wait_for_levels(ALL_HARDWARE)
    wait_for(lambda: hardware_flows() > 20, "flows in hardware", state=daemon.status)
    daemon.set_level("software")
    daemon.wait_for_levels(ALL_SOFTWARE)
    assert engine.bound() == []
    report = batch.stop()
    assert len(report.alive) == 40, report


def test_kill_9_in_the_middle_of_a_drain_leaves_no_changed_timeout(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    before = run("sysctl", "-n", TIMEOUT)
    daemon.start().wait_for_levels(ALL_HARDWARE)
    batch = forty(traffic)
    wait_for(lambda: hardware_flows() > 20, "flows in hardware", state=daemon.status)
    daemon.set_level("software")
    wait_for(lambda: run("sysctl", "-n", TIMEOUT).strip() == "0", "the drain's timeout")
    daemon.kill()
    daemon.start().wait_for_levels(ALL_SOFTWARE)
    assert engine.bound() == []
    assert run("sysctl", "-n", TIMEOUT) == before
    assert not batch.stop().lost


def test_deleted_tables_are_rebuilt(daemon: Daemon, engine: Engine, traffic: Traffic) -> None:
    daemon.start().wait_for_levels(ALL_HARDWARE)
    batch = forty(traffic)
    for table in ("flowguard", "flowguard_sw"):
        run("nft", "delete", "table", "inet", table)
        wait_for(
            lambda: (
                "flowguard_sw" in (tables := run("nft", "list", "tables"))
                and "inet flowguard\n" in tables
            ),
            "the tables to be rebuilt",
            state=daemon.status,
        )
    assert "removed our tables" in daemon.log.read_text()
    assert not batch.stop().lost


def test_a_flushed_ruleset_is_rebuilt(
    daemon: Daemon, engine: Engine, traffic: Traffic, router: Router
) -> None:
    daemon.start().wait_for_levels(ALL_HARDWARE)
    batch = forty(traffic)
    firewall = run("nft", "list", "table", "inet", "labfw")
    # In one transaction, as a firewall's restart does it.
    run("nft", "-f", "-", stdin=f"flush ruleset\n{firewall}")
    wait_for(
        lambda: "inet flowguard\n" in run("nft", "list", "tables"),
        "the tables to be rebuilt",
        state=daemon.status,
    )
    daemon.wait_for_levels(ALL_HARDWARE)
    assert not batch.stop().lost


def test_a_fight_with_another_program_is_given_up(daemon: Daemon, engine: Engine) -> None:
    daemon.start().wait_for_levels(ALL_HARDWARE)

    def fought() -> bool:
        if "flowguard_sw" in run("nft", "list", "tables"):
            run("nft", "delete", "table", "inet", "flowguard_sw")
        return bool(daemon.status()["state"] == "held_off")

    wait_for(fought, "flowguard to yield", state=daemon.status)
    assert "another program keeps removing our tables" in daemon.status()["reason"]


def test_another_programs_flowtable_is_a_problem_that_is_named(
    daemon: Daemon, engine: Engine
) -> None:
    load_ruleset(flowtable(devices=("lan1", "wan"), hardware=False, name="othersft"))
    daemon.start().wait_for_levels(ALL_HARDWARE)
    (problem,) = daemon.status()["problems"]
    assert "othersft" in problem and "lan1, wan" in problem
    with pytest.raises(LabError) as failed:
        daemon.check()
    assert "other-flowtable" in str(failed.value)


def test_a_device_may_be_renamed_and_come_back(
    daemon: Daemon, engine: Engine, traffic: Traffic, router: Router
) -> None:
    daemon.configure("boot_delay '0'\ndevice 'lan1 lan2 wan'")
    daemon.start().wait_for_levels(ALL_HARDWARE)
    batch = traffic.start(Downloads(count=10))
    batch.wait_until_flowing()
    router.namespace.ip("link set lan2 down", "link set lan2 name port9")
    wait_for(
        lambda: daemon.status()["missing_devices"] == ["lan2"],
        "the device to be missed",
        state=daemon.status,
    )
    assert "lan2" not in daemon.levels()
    daemon.wait_for_levels({"lan1": "hardware", "wan": "hardware"})
    listed = run("nft", "list", "table", "inet", "flowguard")
    assert "lan2" not in listed and "port9" not in listed
    router.namespace.ip("link set port9 name lan2")
    router.configure_port(LAN2)
    daemon.wait_for_levels(ALL_HARDWARE)
    assert not batch.stop().lost


def test_an_automatic_device_is_followed_through_its_renaming(
    daemon: Daemon, engine: Engine, router: Router
) -> None:
    daemon.start().wait_for_levels(ALL_HARDWARE)
    router.namespace.ip("link set lan2 down", "link set lan2 name port9")
    router.configure_port(LAN2, "port9")
    try:
        daemon.wait_for_levels({"lan1": "hardware", "port9": "hardware", "wan": "hardware"})
    finally:
        router.namespace.ip("link set port9 down", "link set port9 name lan2")
        router.configure_port(LAN2)
    daemon.wait_for_levels(ALL_HARDWARE)


def test_a_vanished_device_leaves_the_others_alone(
    daemon: Daemon, engine: Engine, traffic: Traffic, router: Router
) -> None:
    router.namespace.ip("link add extra0 type veth peer name extra1", "link set extra0 up")
    daemon.configure("boot_delay '0'\ndevice 'lan1 lan2 wan extra0'")
    daemon.start().wait_for_levels({**ALL_HARDWARE, "extra0": "software"})
    batch = forty(traffic)
    wait_for(lambda: hardware_flows() > 20, "flows in hardware", state=daemon.status)
    router.namespace.ip("link delete extra0")
    wait_for(
        lambda: daemon.status()["missing_devices"] == ["extra0"],
        "the device to be missed",
        state=daemon.status,
    )
    daemon.wait_for_levels(ALL_HARDWARE)
    assert not batch.stop().lost
