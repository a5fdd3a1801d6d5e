# SPDX-License-Identifier: GPL-2.0-or-later
"""Stalls, shortages, and what several lines of the log mean together."""

from __future__ import annotations

from textwrap import dedent

import pytest

from flowguard.core.faults import FaultAssembler, LogRecord, verdict
from flowguard.core.model import Attribution, Fault, FaultClass
from tests.core.faults.reports import (
    ARM64_OOPS,
    DRIVER,
    MODULES,
    NONE,
    OFFLOAD,
    RULES,
    WATCHDOG_TEXT,
    WEAK,
    faults_of,
    only,
    x86,
)

STALL = """
    rcu: INFO: rcu_sched self-detected stall on CPU
    rcu: \t1-....: (2100 ticks this GP) idle=1ee/1/0x40000002 softirq=6126/6127 fqs=1042
    \t(t=2103 jiffies g=7817 q=2502)
    NMI backtrace for cpu 1
    CPU: 1 PID: 33 Comm: kworker/1:1 Not tainted 5.15.60 #0
    Workqueue: events_power_efficient {work}
    Stack : 809d0000 807d22f8
            ...
    Call Trace:
    [<800080c0>] show_stack+0x30/0x100
    [<8033bd94>] dump_stack+0x9c/0xcc
    [<80080000>] rcu_sched_clock_irq+0x500/0x900
    [<80001234>] handle_int+0x100/0x120
    {frame}
"""


@pytest.mark.parametrize(
    ("work", "frame", "attribution"),
    [
        ("nf_flow_offload_work_gc [nf_flow_table]", "", OFFLOAD),
        ("phy_state_machine", "[<1>] nf_flow_table_do_cleanup+0x1/0x2 [nf_flow_table]", OFFLOAD),
        ("some_work", "[<80001234>] mtk_poll_tx+0x1/0x2", DRIVER),
        ("some_work", "[<80001234>] jffs2_garbage_collect_pass+0x1/0x2", NONE),
        ("some_work", "", WEAK),
    ],
)
def test_stall(work: str, frame: str, attribution: Attribution) -> None:
    faults = faults_of(STALL.format(work=work, frame=frame))
    assert verdict(faults) is attribution
    assert all(fault.fault_class is FaultClass.LOCKUP_OR_STALL for fault in faults)


def test_a_stall_is_told_when_the_log_goes_quiet_or_on() -> None:
    assembler = FaultAssembler(RULES)
    lines = dedent(STALL.format(work="nf_flow_dnat_port [nf_flow_table]", frame="")).split("\n")
    assert not [f for line in lines for f in assembler.feed(LogRecord(line, 50.0))]
    assert assembler.pending
    (fault,) = assembler.feed(LogRecord("br-lan: port 1(lan1) entered disabled state", 60.0))
    assert fault.attribution is OFFLOAD
    assert not assembler.pending


ALLOCATION = """
    {who}: page allocation failure: order:{order}, mode:0x40dc0(GFP_KERNEL), nodemask=(null)
    CPU: 0 PID: 42 Comm: {who} Not tainted 6.12.1 #0
    Call trace:
     show_stack+0x18/0x24
     warn_alloc+0xf8/0x180
     __alloc_pages_slowpath+0xc24/0xd00
     {caller}+0x100/0x280
"""


@pytest.mark.parametrize(
    ("who", "order", "caller", "attribution"),
    [
        ("netifd", 10, "dma_alloc_attrs", DRIVER),
        ("kworker/0:1", 9, "mtk_open", DRIVER),
        ("kworker/0:1", 9, "squashfs_readpage", NONE),
        ("ksoftirqd/0", 0, "mtk_poll_rx", NONE),
    ],
)
def test_allocation_failure(who: str, order: int, caller: str, attribution: Attribution) -> None:
    faults = faults_of(ALLOCATION.format(who=who, order=order, caller=caller))
    assert verdict(faults) is attribution
    assert all(fault.fault_class is FaultClass.DMA_OR_MEMORY for fault in faults)


def test_oom_with_offload_modules_is_nothing() -> None:
    assert not faults_of(
        f"""
        dnsmasq invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE), order=0
        {MODULES}
        CPU: 3 UID: 0 PID: 1 Comm: dnsmasq Tainted: G           O       6.12.1 #0
        Call trace:
         dump_header+0x40/0x200
         oom_kill_process+0x100/0x200
         mtk_poll_rx+0x10/0x20
        Out of memory: Killed process 1 (dnsmasq) total-vm:1kB
        """
    )


def test_repetition_makes_a_hiccup_a_driver_fault() -> None:
    line = "mt7915e 0000:01:00.0: Message 00005aed (seq {}) timeout"
    once = only(line.format(1))
    assert once.attribution is WEAK
    twice = faults_of(line.format(1) + "\n" + line.format(2), step=20.0)
    assert [fault.attribution for fault in twice] == [WEAK, DRIVER]
    rarely = faults_of(line.format(1) + "\n" + line.format(2), step=5000.0)
    assert [fault.attribution for fault in rarely] == [WEAK, WEAK]


def test_a_burst_is_told_once() -> None:
    line = "mtk_soc_eth 15100000.ethernet: PPE table busy"
    assert len(faults_of("\n".join([line] * 1000))) == 1
    assert len(faults_of("\n".join([line] * 3), step=2.0)) == 3


def test_who_spoke_just_before_decides_a_nameless_oops() -> None:
    hook = (
        "{natflow}:natflow_netdev_event(): caught event NETDEV_UP for dev=lan1, added ingress hook"
    )
    nameless = "Unable to handle kernel paging request at virtual address 0000000000000010"
    assert only(f"{hook}\n{nameless}").attribution is OFFLOAD
    assert faults_of(f"{hook}\n{nameless}", step=100.0)[0].attribution is WEAK


def test_lines_of_programs_are_nothing() -> None:
    assembler = FaultAssembler(RULES)
    lines = dedent(ARM64_OOPS).split("\n")
    assert not [f for t in lines for f in assembler.feed(LogRecord(t, 1.0, kernel=False))]
    assert not assembler.flush()


def test_concurrent_cpus_are_kept_apart_by_their_callers() -> None:
    assembler = FaultAssembler(RULES)
    faults: list[Fault] = []
    mine = dedent(ARM64_OOPS).strip("\n").split("\n")
    other = dedent(x86("ubifs_write_inode")).strip("\n").split("\n")
    for number in range(max(len(mine), len(other))):
        for caller, lines in (("C0", mine), ("C1", other)):
            if number < len(lines):
                faults += assembler.feed(LogRecord(lines[number], 7.0, caller=caller))
    faults += assembler.flush()
    assert [fault.attribution for fault in faults] == [OFFLOAD]


def test_a_fragment_without_its_start_needs_the_offload_path() -> None:
    middle = """
        kworker/3:0     R  running task        0 17615      2 0x00100004
        Workqueue: events_power_efficient nf_flow_dnat_port [nf_flow_table]
        Call Trace:
        [<8046095c>] __schedule+0x7ac/0x860
    """
    fault = only(middle)
    assert (fault.attribution, fault.fault_class) == (OFFLOAD, FaultClass.LOCKUP_OR_STALL)
    assert not faults_of(" ndpi_mt+0x931/0x1dd0 [xt_ndpi]\n nft_do_chain+0x17a/0x540 [nf_tables]")


def test_embedded_newlines_are_lines() -> None:
    assembler = FaultAssembler(RULES)
    faults = assembler.feed(LogRecord(f"something\n{WATCHDOG_TEXT}", 3.0))
    assert [fault.device for fault in faults] == ["eth0"]


def test_the_records_dictionary_names_the_device() -> None:
    assembler = FaultAssembler(RULES)
    record = LogRecord("mvneta f1070000.ethernet: swiotlb buffer is full", 3.0, device="eth1")
    assert assembler.feed(record)[0].device == "eth1"
