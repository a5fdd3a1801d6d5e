# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver breaks, the kernel says so, flowguard steps down the right device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab.capture import Engine, KernelLog, hardware_flows
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import SEGMENTS, Router
from tests.lab.traffic import Downloads, Uploads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

BENIGN = """\
<6>mtk_soc_eth 1b100000.ethernet eth0: Link is Up - 2.5Gbps/Full - flow control rx/tx
<6>br-lan: port 1(lan1) entered forwarding state
<4>nf_conntrack: nf_conntrack: table full, dropping packet
<6>workqueue: nf_ft_offload_add registered
<3>usb 1-1: device descriptor read/64, error -71
<4>ath10k_pci 0000:01:00.0: firmware crashed! (guid n/a)
<6>Modules linked in: nf_flow_table nft_flow_offload mt7915e labengine
<3>Out of memory: Killed process 1247 (smartdns) total-vm:3726576kB
"""
FORGED = (
    "<3>NETDEV WATCHDOG: wan (labengine): transmit queue 0 timed out\n",
    "<2>wan: NETDEV WATCHDOG: CPU: 1: transmit queue 0 timed out 5150 ms\n",
)


def levels(status: dict[str, Any]) -> dict[str, str]:
    return {device["name"]: device["level"] for device in status["devices"]}


def evidence(status: dict[str, Any]) -> str:
    return "\n".join(decision["evidence"] for decision in status["decisions"])


@pytest.fixture
def busy(daemon: Daemon, engine: Engine, traffic: Traffic) -> Batch:
    """flowguard on hardware with connections that hardware forwards."""
    daemon.configure("boot_delay '0'\nhold_off '300'")
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=15), Uploads(count=15, host="lan2", family=6))
    batch.wait_until_flowing()
    wait_for(
        lambda: hardware_flows() > 20,
        "flows in hardware",
        state=daemon.status,
    )
    return batch


def new_flow(traffic: Traffic) -> Batch:
    """Makes the kernel call the driver once more."""
    return traffic.start(Downloads(count=10))


def test_a_warning_in_the_offload_path_steps_everything_down(
    daemon: Daemon, engine: Engine, traffic: Traffic, busy: Batch
) -> None:
    engine.set_fault("warn_on_replace", 1)
    more = new_flow(traffic)
    status = daemon.wait_for_levels(all_on("software"))
    assert "WARNING" in evidence(status)
    assert status["state"] == "held_off"
    assert all(device["held_off_until"] for device in status["devices"])
    assert engine.bound() == []
    assert not more.stop().lost
    assert not busy.stop().lost


def test_a_tx_hang_steps_down_the_port_that_hangs_and_no_other(
    daemon: Daemon, engine: Engine, traffic: Traffic, kernel_log: KernelLog
) -> None:
    # Half of the flows stay in software: what hardware forwards never meets the hung ring.
    daemon.configure("boot_delay '0'\nhold_off '300'\ncontrol_share '2'")
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=10), Uploads(count=20, host="lan2", family=6))
    batch.wait_until_flowing()
    engine.set_fault("tx_hang", "lan2")
    wait_for(lambda: "transmit queue" in kernel_log.text(), "the watchdog to bark", limit=60)
    wait_for(lambda: daemon.levels()["lan2"] == "software", "the step", state=daemon.status)
    engine.clear_faults()
    status = daemon.wait_for_levels({"lan1": "hardware", "lan2": "software", "wan": "hardware"})
    assert "NETDEV WATCHDOG" in evidence(status)
    (lan2,) = (d for d in status["devices"] if d["name"] == "lan2")
    assert lan2["held_off_until"]
    assert not batch.stop().lost


def test_after_the_hold_off_it_steps_up_again(
    daemon: Daemon, engine: Engine, traffic: Traffic
) -> None:
    daemon.configure("boot_delay '0'\nhold_off '60'\nsettle '5'")
    daemon.start().wait_for_levels(all_on("hardware"))
    batch = traffic.start(Downloads(count=5))
    batch.wait_until_flowing()
    engine.set_fault("warn_on_replace", 1)
    more = new_flow(traffic)
    daemon.wait_for_levels({"lan1": "software", "wan": "software"})
    status = daemon.wait_for_levels(all_on("hardware"), limit=180)
    assert {device["strikes"] for device in status["devices"]} == {1}
    assert any("hold-off" in decision["reason"] for decision in status["decisions"])
    assert not more.stop().lost
    assert not batch.stop().lost


def test_the_report_names_rule_device_trace_and_levels_and_no_address(
    daemon: Daemon, engine: Engine, traffic: Traffic, busy: Batch, router: Router
) -> None:
    Path("/dev/kmsg").write_text("<3>from 192.168.77.8 said a program")
    engine.printk("<6>lan1: a packet from 203.0.113.77 and fe80::5eff:fe10:2030\n")
    engine.set_fault("warn_on_replace", 1)
    more = new_flow(traffic)
    status = daemon.wait_for_levels(all_on("software"))
    moment = daemon.socket.parent / "moment-1.json"
    wait_for(moment.exists, "the moment to be frozen", state=daemon.status)
    configured = ("--config", str(daemon.configuration), "--state-dir", str(daemon.state))
    report = daemon.cli("report", "-", *configured)
    (headline,) = {d["evidence"] for d in status["decisions"] if d["from"] == "hardware"}
    frozen = report.split("## Moments of faults")[1].split("\n## ")[0]
    (rule,) = {d["reason"].split()[-1] for d in status["decisions"] if d["from"] == "hardware"}
    assert f"fault {rule}" in frozen and headline in frozen
    assert "Call Trace:" in frozen and "flow_offload" in frozen
    assert all(f"- {port} on " in frozen for port in all_on("software"))
    assert all(f"{port} (labengine): software; held off" in report for port in ("lan1", "wan"))
    assert "table inet flowguard_sw {" in report
    assert "said a program" not in report
    addresses = [
        getattr(s, f"{who}{f}") for s in SEGMENTS for who in ("router", "host") for f in (4, 6)
    ]
    macs = [link["address"] for link in router.namespace.links().values() if "address" in link]
    found = [a for a in (*addresses, *macs) if a in report and set(a) - set("0:")]
    assert found == [] and "203.0.113.77" not in report
    for batch in (busy, more):
        assert not batch.stop().lost


@pytest.mark.needs_qemu(reason="sysrq, with traces of every task and processor")
def test_benign_unrelated_and_forged_messages_lead_to_nothing(
    daemon: Daemon, engine: Engine, traffic: Traffic, busy: Batch
) -> None:
    engine.printk(BENIGN)
    engine.set_fault("register_dump", 200)
    # Traces of every task and processor, printed by the kernel: noise of the worst kind.
    for request in ("h", "t", "l", "m"):
        Path("/proc/sysrq-trigger").write_text(request)
    for line in FORGED:
        Path("/dev/kmsg").write_text(line)
    # A real fault afterwards proves that all of that had been read by then.
    before = daemon.status()
    assert levels(before) == all_on("hardware")
    engine.set_fault("warn_on_replace", 1)
    more = new_flow(traffic)
    status = daemon.wait_for_levels(all_on("software"))
    down = [d for d in status["decisions"] if d["from"] == "hardware"]
    assert len(down) == 3
    assert all("WARNING" in decision["evidence"] for decision in down)
    assert not more.stop().lost
    assert not busy.stop().lost


@pytest.mark.needs_qemu(reason="an oops, which User Mode Linux does not survive")
@pytest.mark.breaks_kernel
def test_an_oops_on_the_offload_workqueue_steps_everything_down_until_the_next_boot(
    daemon: Daemon, engine: Engine, traffic: Traffic, busy: Batch
) -> None:
    engine.set_fault("oops_on_replace", 1)
    more = new_flow(traffic)
    wait_for(
        lambda: set(daemon.levels().values()) == {"software"},
        "the step",
        limit=90,
        state=daemon.status,
    )
    status = daemon.status()
    assert "NULL pointer dereference" in evidence(status)
    assert all(device["held_until_reboot"] for device in status["devices"])
    # New flows stay out of hardware, old ones leave it, and everybody is alive.
    wait_for(
        lambda: hardware_flows() == 0,
        "hardware to drain",
        limit=90,
        state=daemon.status,
    )
    fresh = traffic.start(Downloads(count=5))
    fresh.wait_until_flowing()
    for batch in (fresh, more, busy):
        report = batch.stop()
        assert not report.lost, report
