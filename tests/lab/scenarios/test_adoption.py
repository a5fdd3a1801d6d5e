# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard adopt` while the firewall has connections in hardware."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.lab.capture import Engine, hardware_flows, load_ruleset
from tests.lab.machine import REPOSITORY
from tests.lab.namespace import run
from tests.lab.traffic import Downloads
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

FIREWALL = """
table inet fw4 {
    flowtable ft {
        hook ingress priority filter
        devices = { lan1, lan2, wan }
        counter
        flags offload
    }
    chain forward {
        type filter hook forward priority filter; policy accept;
        meta l4proto { tcp, udp } flow add @ft
    }
}
"""
# What the firewall's reload does, after a look at what the engine still holds.
UBUS = """#!/bin/sh
grep -c BND /sys/kernel/debug/ppe0/bind >{folder}/left
nft delete table inet fw4
"""
UCI = """#!/bin/sh
case "$*" in
*get*) [ -e {folder}/off ] && echo 0 || echo 1 ;;
*set*) touch {folder}/off ;;
esac
"""


def test_the_engine_is_empty_before_the_firewall_lets_it_go(
    engine: Engine, traffic: Traffic, tmp_path: Path
) -> None:
    for name, text in (("ubus", UBUS), ("uci", UCI)):
        program = tmp_path / name
        program.write_text(text.format(folder=tmp_path))
        program.chmod(0o755)
    load_ruleset(FIREWALL)
    batch = traffic.start(Downloads(count=10))
    batch.wait_until_flowing()
    wait_for(lambda: hardware_flows() == 10, "10 flows of the firewall in hardware")
    before = run("sysctl", "-n", "net.netfilter.nf_flowtable_tcp_timeout")
    environment = (f"PATH={tmp_path}:{os.environ['PATH']}", f"PYTHONPATH={REPOSITORY}/daemon")
    adopt = ("-m", "flowguard", "adopt", "--state-dir", str(tmp_path / "state"))
    told = run("env", *environment, sys.executable, *adopt)
    assert "the firewall's flow_offloading is switched off" in told
    assert (tmp_path / "left").read_text().strip() == "0"
    assert not engine.bound()
    assert run("sysctl", "-n", "net.netfilter.nf_flowtable_tcp_timeout") == before
    assert not batch.stop().lost
