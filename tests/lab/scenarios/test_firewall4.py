# SPDX-License-Identifier: GPL-2.0-or-later
"""OpenWrt's firewall as flowguard's neighbour: what its script does to our tables.

The script here stands in for the real one and does what that does: `reload` replaces its own
table, `flush` deletes every table one by one under the lock, then the state file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.capture import Engine, flowtable, hardware_flows, load_ruleset
from tests.lab.daemon import Daemon, all_on
from tests.lab.namespace import run
from tests.lab.traffic import Downloads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

PORTS = all_on("hardware")
NOTHING = all_on("none")
FW4 = Path("/sbin/fw4")
STATE = Path("/var/run/fw4.state")
SCRIPT = r"""#!/bin/sh
lock() { exec 9>/var/run/fw4.lock; flock -x 9; }
case $1 in
reload)
    lock
    touch /var/run/fw4.state
    nft -f - <<END
table inet fw4
flush table inet fw4
table inet fw4 { chain raw { type filter hook prerouting priority raw; policy accept; }; }
END
    ;;
flush)
    lock
    nft list tables | while read -r _ family table; do
        [ "$table" = labfw ] || nft delete table "$family" "$table"
    done
    rm -f /var/run/fw4.state
    ;;
esac
"""


@pytest.fixture
def fw4(engine: Engine) -> Iterator[Path]:
    """A started firewall; the lab's own stays beside it, because the hosts need it."""
    FW4.write_text(SCRIPT)
    FW4.chmod(0o755)
    run(str(FW4), "reload")
    yield FW4
    STATE.unlink(missing_ok=True)
    FW4.unlink()


def flowing(daemon: Daemon, traffic: Traffic) -> Batch:
    """Six connections, all of them in hardware: none is drawn for the control arm."""
    daemon.configure("boot_delay '0'\ncontrol_share '0'")
    daemon.start().wait_for_levels(PORTS)
    batch = traffic.start(Downloads(count=6))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 6, "6 flows in hardware")
    return batch


def test_a_reload_leaves_our_tables_alone(daemon: Daemon, traffic: Traffic, fw4: Path) -> None:
    batch = flowing(daemon, traffic)
    handles = run("nft", "-a", "list", "table", "inet", "flowguard")
    run(str(fw4), "reload")
    assert run("nft", "-a", "list", "table", "inet", "flowguard") == handles
    assert hardware_flows() == 6
    assert len(batch.stop().alive) == 6


def test_a_flush_is_a_stop_until_the_firewall_starts(
    daemon: Daemon, traffic: Traffic, fw4: Path
) -> None:
    batch = flowing(daemon, traffic)
    run(str(fw4), "flush")
    wait_for(lambda: daemon.levels() == NOTHING, "flowguard to stand by", state=daemon.status)
    status = daemon.status()
    assert "firewall was stopped" in status["reason"]
    assert {device["allowed"] for device in status["devices"]} == {"none"}
    assert "flowguard" not in run("nft", "list", "tables")
    assert daemon.log.read_text().count("flowguard: the firewall was stopped") == 1
    run(str(fw4), "reload")
    daemon.wait_for_levels(PORTS)
    assert "stopped" not in daemon.status()["reason"]
    assert not batch.stop().lost


def test_a_foreign_flush_is_rebuilt_although_there_is_an_fw4(
    daemon: Daemon, traffic: Traffic, fw4: Path
) -> None:
    daemon.start().wait_for_levels(PORTS)
    for table in ("flowguard", "flowguard_sw"):
        run("nft", "delete", "table", "inet", table)
    wait_for(lambda: "inet flowguard\n" in run("nft", "list", "tables"), "the tables to be rebuilt")
    daemon.wait_for_levels(PORTS)


def test_flowguard_stands_by_while_the_firewall_offloads(
    daemon: Daemon, traffic: Traffic, fw4: Path
) -> None:
    batch = flowing(daemon, traffic)
    load_ruleset(flowtable(devices=("lan1", "lan2", "wan"), hardware=False, name="fw4"))
    wait_for(lambda: daemon.levels() == NOTHING, "flowguard to stand by", 90, state=daemon.status)
    wait_for(
        lambda: "flowguard" not in run("nft", "list", "tables"),
        "the tables to go",
        state=daemon.status,
    )
    wait_for(lambda: not daemon.status()["drain"], "the end of the drain", state=daemon.status)
    assert "fw4-offload" in daemon.status()["reason"]
    daemon.stop()
    daemon.start()
    assert daemon.levels() == NOTHING
    run("nft", "delete", "table", "inet", "fw4")
    daemon.wait_for_levels(PORTS)
    assert not batch.stop().lost
