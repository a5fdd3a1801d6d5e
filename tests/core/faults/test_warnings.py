# SPDX-License-Identifier: GPL-2.0-or-later
"""Warnings, transmit timeouts among them -> the fault that they mean, or whose they are."""

from __future__ import annotations

import pytest

from flowguard.core.faults import verdict
from flowguard.core.model import Attribution, FaultClass
from tests.core.faults.reports import (
    DRIVER,
    MODULES,
    NONE,
    OFFLOAD,
    WATCHDOG_TEXT,
    WEAK,
    X86_OOPS,
    faults_of,
    only,
    x86,
)

WARN_6_12 = """
    ------------[ cut here ]------------
    WARNING: CPU: 0 PID: 42 at drivers/acme.c:9 {place}
    Modules linked in: acme(O)
    CPU: 0 UID: 0 PID: 42 Comm: kworker/u4:3 Tainted: G           O       6.12.1 #1
    RIP: 0010:{place}
    Call Trace:
     <TASK>
     ? __warn+0x89/0x130
     flow_offload_work_handler+0x1f0/0x3a0 [nf_flow_table]
    ---[ end trace 0000000000000000 ]---
"""


@pytest.mark.parametrize(
    "text",
    [
        WARN_6_12.format(place="acme_offload_replace+0x50/0x90 [acme]"),
        WARN_6_12.format(place="acme_offload_replace+0x50/0x90 [acme]").replace(
            "WARNING: CPU: 0 PID: 42 at drivers/acme.c:9 acme_offload_replace+0x50/0x90 [acme]",
            "WARNING: acme.c:9 at acme_offload_replace+0x50/0x90 [acme], CPU#0: kworker/u4:3/42",
        ),
    ],
    ids=["to 6.12", "7.3"],
)
def test_warning_on_the_offload_worker(text: str) -> None:
    fault = only(text)
    assert fault.attribution is OFFLOAD
    assert fault.fault_class is FaultClass.KERNEL_WARNING
    assert fault.driver == "acme"
    assert fault.line.startswith("WARNING: ")


@pytest.mark.parametrize(
    ("caller", "attribution"),
    [("acme_init [acme]", NONE), ("nf_flow_table_init [nf_flow_table]", OFFLOAD), ("ip_rcv", WEAK)],
)
def test_a_warning_in_the_stack_is_judged_with_its_trace(
    caller: str, attribution: Attribution
) -> None:
    symbol, _, module = caller.partition(" ")
    faults = faults_of(
        f"""
        ------------[ cut here ]------------
        WARNING: CPU: 2 PID: 130 at net/netfilter/core.c:276 nf_hook_entry_head+0x80/0xd4
        Modules linked in: acme(PO+) nf_flow_table
        CPU: 2 PID: 130 Comm: kmodloader Tainted: P           O      5.15.213 #0
        [<c0700000>] (nf_hook_entry_head) from [<c0700100>] (nf_register_net_hook+0x3c/0x88)
        [<c0700100>] (nf_register_net_hook) from [<bf800000>] ({symbol}+0x20/0x60 {module})
        [<bf800000>] ({f"{symbol} {module}".strip()}) from [<c0101000>] (do_one_initcall+0x60/0x1d0)
        ---[ end trace 5f5f5f5f5f5f5f5f ]---
        """
    )
    assert verdict(faults) is attribution


WATCHDOG_WARN = "WARNING: CPU: 0 PID: 0 at net/sched/sch_generic.c:525 dev_watchdog+0x230/0x238"
WATCHDOG_REST = f"""
{MODULES}
CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.6.30 #0
pc : dev_watchdog+0x230/0x238
lr : dev_watchdog+0x230/0x238
Call trace:
 dev_watchdog+0x230/0x238
 call_timer_fn.constprop.0+0x20/0x80
 run_timer_softirq+0x1d8/0x1e8
---[ end trace 0000000000000000 ]---
"""
CUT = "------------[ cut here ]------------\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{CUT}{WATCHDOG_TEXT}\n{WATCHDOG_WARN}{WATCHDOG_REST}",
        f"{CUT}{WATCHDOG_WARN}\n{WATCHDOG_TEXT}{WATCHDOG_REST}",
        f"{WATCHDOG_WARN}\n{WATCHDOG_TEXT}{WATCHDOG_REST}",
        WATCHDOG_TEXT,
        "mtk_soc_eth 1e.ethernet eth0: NETDEV WATCHDOG: CPU: 1: transmit queue 0 timed out 5030 ms",
        "mtk_soc_eth 15100000.ethernet eth0: transmit timed out",
    ],
    ids=["text first", "warning first", "without cut", "old line", "new line", "driver's own"],
)
def test_transmit_timeout_names_the_device(text: str) -> None:
    fault = only(text)
    assert fault.fault_class is FaultClass.TX_TIMEOUT
    assert (fault.attribution, fault.device, fault.driver) == (DRIVER, "eth0", "mtk_soc_eth")


def test_the_text_of_a_warning_can_accuse_where_the_place_does_not() -> None:
    fault = only(
        f"""{CUT}Timeout waiting for MCU reset state 10
WARNING: CPU: 0 PID: 9 at mt7915_mac_reset_work+0x408/0x700 [mt7915e]
---[ end trace 0000000000000000 ]---"""
    )
    assert (fault.rule, fault.attribution) == ("mt76-mcu-reset-timeout", OFFLOAD)
    assert fault.line == "Timeout waiting for MCU reset state 10"


def test_transmit_timeout_of_what_cannot_be_offloaded_is_none_of_ours() -> None:
    assert not faults_of("NETDEV WATCHDOG: usb0 (cdc_ncm): transmit queue 0 timed out")
    assert not faults_of("NETDEV WATCHDOG: wlan0 (ath10k_pci): transmit queue 0 timed out 9 ms")


UNRELATED_TEXT = "NETDEV WATCHDOG: eth1 (ax88179_178a): transmit queue 0 timed out"
BETWEEN = "br-lan: port 2(lan2) entered disabled state\n"


@pytest.mark.parametrize(
    "driver", ["r8152", "cdc_ncm", "ax88179_178a", "MOSCHIP usb-ethernet driver"]
)
@pytest.mark.parametrize(
    "report",
    [
        "{cut}{text}\n{warn}{rest}",
        "{cut}{warn}\n{text}{rest}",
        "{text}\n{warn}{rest}",
        "{warn}\n{text}{rest}",
        "{cut}{text}\n{between}{warn}{rest}",
        "{cut}{warn}\n{between}{text}{rest}",
        "{text}\n{between}{warn}",
        "{text}\n{warn}",
    ],
)
def test_a_warning_whose_text_names_somebody_else_accuses_nobody(report: str, driver: str) -> None:
    text = UNRELATED_TEXT.replace("ax88179_178a", driver)
    parts = {"cut": CUT, "warn": WATCHDOG_WARN, "rest": WATCHDOG_REST, "between": BETWEEN}
    assert not faults_of(report.format(text=text, **parts))
    # The same report about a device that can be offloaded is one fault, and names it.
    assert only(report.format(text=WATCHDOG_TEXT, **parts)).device == "eth0"


def test_a_warning_belongs_to_no_text_of_long_ago() -> None:
    (fault,) = faults_of(f"{UNRELATED_TEXT}\n{WATCHDOG_WARN}", step=30.0)
    assert (fault.rule, fault.attribution, fault.device) == ("tx-timeout-warning", DRIVER, None)


def test_a_trace_through_offloading_counts_whomever_the_text_names() -> None:
    rest = WATCHDOG_REST.replace(" call_timer_fn", " nf_flow_offload_stats+0x1/0x2\n call_timer_fn")
    assert only(f"{CUT}{UNRELATED_TEXT}\n{WATCHDOG_WARN}{rest}").attribution is OFFLOAD


def test_nothing_on_usb_has_an_engine() -> None:
    usb = "acme 2-1.4:1.0 eth1: NETDEV WATCHDOG: CPU: 1: transmit queue 0 timed out 5030 ms"
    assert not faults_of(usb)
    assert only(usb.replace("2-1.4:1.0", "0000:01:00.0")).device == "eth1"


@pytest.mark.parametrize(
    ("module", "attribution"),
    [("mt7603e", NONE), ("mt76x2e", NONE), ("mt7615e", NONE), ("mt7915e", WEAK), ("mt7996e", WEAK)],
)
def test_warnings_of_wireless_count_only_where_it_can_be_offloaded(
    module: str, attribution: Attribution
) -> None:
    site = f"WARNING: CPU: 1 PID: 9 at mac.c:30 0x86054000 [{module}@8ad90000+0x9000]"
    assert verdict(faults_of(f"{CUT}{site}\n{MODULES}")) is attribution
    # A crash may be the doing of whoever wrote to its memory.
    assert only(x86("some_handler", module=module)).attribution is WEAK


@pytest.mark.parametrize(
    ("caller", "attribution"),
    [("mt7603_poll_tx [mt7603e]", NONE), ("mt7915_poll_tx [mt7915e]", WEAK), ("kthread", WEAK)],
)
def test_code_that_all_of_them_share_is_its_callers(caller: str, attribution: Attribution) -> None:
    symbol, _, module = caller.partition(" ")
    frame = f" {symbol}+0x1/0x2 {module}".rstrip()
    site = "WARNING: CPU: 1 PID: 9 at dma.c:30 mt76_dma_tx_cleanup+0x1/0x2 [mt76]"
    report = f"{CUT}{site}\n{MODULES}\nCall Trace:\n{frame}\n---[ end trace 0 ]---"
    assert verdict(faults_of(report)) is attribution


def test_wireless_offload_that_could_not_be_set_up_is_no_fault_of_ethernet() -> None:
    assert not faults_of(
        """
        mt7986-wmac 18000000.wifi: attaching wed device 0 version 2
        platform 15011000.wed: Direct firmware load for acme_wo_1.bin failed with error -2
        platform 15011000.wed: failed to attach wed device
        platform 15011000.wed: failed to disable wed-wo
        """
    )


def test_an_imbalanced_reference_is_judged_by_who_gave_it_back() -> None:
    text = f"""{CUT}rcuref - imbalanced put()
WARNING: CPU: 1 PID: 0 at lib/rcuref.c:267 rcuref_put_slowpath+0x55/0x70
Call Trace:
 dst_release+0x40/0x60
 {{caller}}
---[ end trace 0000000000000000 ]---"""
    offloading = only(text.format(caller="flow_offload_free+0x30/0x90 [nf_flow_table]"))
    assert (offloading.rule, offloading.attribution) == ("memory-corruption", OFFLOAD)
    assert only(text.format(caller="ip_rcv_finish+0x30/0x90")).attribution is WEAK
    assert not faults_of(text.format(caller="acme_done+0x30/0x90 [acme]"))


@pytest.mark.parametrize("show", ["mtk_ppe_debugfs_foe_bind_show", "airoha_ppe_debugfs_foe_show"])
def test_an_oops_of_who_reads_the_engines_table_is_the_looks_doing(show: str) -> None:
    reading = only(x86("string", "vsnprintf", "seq_printf", show, "seq_read_iter", "vfs_read"))
    assert (reading.attribution, reading.by_look, reading.because) == (OFFLOAD, True, show)
    assert only(x86(show, "seq_read_iter", module="mtk_eth")).by_look
    assert not only(x86("mtk_ppe_check_skb")).by_look
    assert not only(x86("mtk_ppe_debugfs_init")).by_look


def test_kernels_before_flow_offload_have_no_offload_faults() -> None:
    old_style = WATCHDOG_WARN + "()"
    assert not faults_of(f"{CUT}{old_style}\n{WATCHDOG_TEXT}")
    assert not faults_of(
        X86_OOPS.format(pc="x", module="", frames="", workqueue="e w").replace("6.12.1", "3.10.32")
    )
    assert not faults_of(f"Linux version 4.4.50 (gcc)\n{WATCHDOG_TEXT}")
    assert faults_of(f"Linux version 4.14.50 (gcc)\n{WATCHDOG_TEXT}")
