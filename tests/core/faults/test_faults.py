# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole reports of the kernel, as each architecture prints them -> the fault they mean."""

from __future__ import annotations

from textwrap import dedent

import pytest

from flowguard.core.faults import FaultAssembler, LogRecord, verdict
from flowguard.core.model import Attribution, Fault, FaultClass
from flowguard.rules import load

RULES = load()
OFFLOAD, DRIVER, WEAK, NONE = (
    Attribution.OFFLOAD,
    Attribution.DRIVER,
    Attribution.WEAK,
    Attribution.NONE,
)


def faults_of(text: str, start: float = 100.0, step: float = 0.001) -> list[Fault]:
    assembler = FaultAssembler(RULES)
    faults: list[Fault] = []
    for number, line in enumerate(dedent(text).strip("\n").split("\n")):
        faults += assembler.feed(LogRecord(line, start + number * step))
    return faults + assembler.flush()


def only(text: str) -> Fault:
    faults = faults_of(text)
    assert len(faults) == 1, faults
    return faults[0]


MODULES = "Modules linked in: nft_flow_offload nf_flow_table mtk_eth_soc mt7915e mlx5_core"

X86_OOPS = """
    BUG: kernel NULL pointer dereference, address: 0000000000000018
    #PF: supervisor read access in kernel mode
    #PF: error_code(0x0000) - not-present page
    PGD 0 P4D 0
    Oops: 0000 [#1] PREEMPT SMP NOPTI
    CPU: 1 PID: 77 Comm: kworker/u4:2 Tainted: G           O       6.12.1 #1
    Hardware name: Some board
    Workqueue: {workqueue}
    RIP: 0010:{pc}+0x1b/0x80{module}
    Code: 48 8b 47 18 <48> 8b 00
    RSP: 0018:ffffc90000000000 EFLAGS: 00010246
    RAX: 0000000000000000 RBX: ffff888100000000 RCX: 0000000000000000
    Call Trace:
     <TASK>
     ? __die+0x23/0x70
     {frames}
     kthread+0xd2/0x100
     ret_from_fork+0x34/0x50
     </TASK>
    Modules linked in: nft_flow_offload nf_flow_table mlx5_core
    CR2: 0000000000000018
    ---[ end trace 0000000000000000 ]---
    RIP: 0010:{pc}+0x1b/0x80{module}
    Code: 48 8b 47 18 <48> 8b 00
    Kernel panic - not syncing: Fatal exception in interrupt
    ---[ end Kernel panic - not syncing: Fatal exception in interrupt ]---
"""


def x86(pc: str, *frames: str, module: str = "", workqueue: str = "events some_work") -> str:
    lines = "\n     ".join(f"{frame.partition(' ')[0]}+0x1/0x2{_tail(frame)}" for frame in frames)
    module = f" [{module}]" if module else ""
    return X86_OOPS.format(pc=pc, frames=lines, module=module, workqueue=workqueue)


def _tail(frame: str) -> str:
    return f" [{frame.partition(' ')[2]}]" if " " in frame else ""


@pytest.mark.parametrize(
    ("text", "attribution", "driver"),
    [
        # The place itself decides.
        (x86("nf_flow_offload_refresh", module="nf_flow_table"), OFFLOAD, None),
        (x86("mtk_ppe_check_skb"), OFFLOAD, None),
        (x86("mtk_poll_rx", "__napi_poll", "net_rx_action"), DRIVER, "mtk_soc_eth"),
        (x86("mt7915_mac_tx_free", module="mt7915e"), WEAK, None),
        (x86("ndpi_process", "nft_do_chain nf_tables", module="xt_ndpi"), NONE, None),
        (x86("ath10k_htt_rx", "mtk_poll_rx", module="ath10k_core"), NONE, None),
        (x86("ubifs_write_inode", "__writeback_single_inode"), NONE, None),
        # A helper's caller is to blame.
        (x86("__list_del_entry_valid", "flow_offload_del nf_flow_table"), OFFLOAD, None),
        (x86("kfree", "skb_release_data", "mvneta_tx", "dev_hard_start_xmit"), DRIVER, "mvneta"),
        (x86("refcount_dec_and_test", "ext4_evict_inode"), NONE, None),
        # The stack between a driver's poll and the place exonerates the driver.
        (x86("fib_table_lookup", "ip_rcv", "napi_gro_receive", "mtk_poll_rx"), WEAK, None),
        # Whatever the offload worker calls is offloading, whoever's driver it is.
        (
            x86("acme_replace", "flow_offload_work_handler nf_flow_table", module="acme"),
            OFFLOAD,
            "acme",
        ),
        (x86("memcpy", workqueue="nf_ft_offload_add flow_offload_work_handler"), OFFLOAD, None),
        # An unknown module is a network driver when the stack called it as one.
        (x86("acme_xmit", "acme_start acme", "dev_hard_start_xmit", module="acme"), DRIVER, "acme"),
        (x86("acme_poll", "__napi_poll", module="acme"), DRIVER, "acme"),
        (x86("acme_ioctl", "vfs_ioctl", module="acme"), NONE, None),
        # Code without an owner is its caller's, where that has nothing to do with packets.
        (x86("some_function", "shrink_node"), NONE, None),
        (x86("some_function", "acme_ioctl acme", "vfs_ioctl"), NONE, None),
        (x86("some_function", "acme_poll acme", "__napi_poll"), WEAK, None),
        (x86("some_function", "ip_rcv"), WEAK, None),
        (x86("__list_del_entry_valid", "__dentry_kill"), NONE, None),
        # What a module sets up in the stack is the module's, but no packet on its way.
        (x86("nf_hook_entry_grow", "nf_register_net_hook", "acme_init acme"), NONE, None),
        (x86("dev_add_pack", "ath9k_start ath9k", "netif_receive_skb"), NONE, None),
        (x86("dev_add_pack", "flow_offload_alloc nf_flow_table"), OFFLOAD, None),
        (x86("fib_table_lookup", "ip_rcv", "netif_receive_skb", "ath9k_rx ath9k"), WEAK, None),
        (x86("nf_conntrack_free", "nf_hook_slow", "acme_hook acme"), WEAK, None),
        (x86("dev_close", "mt7915_stop mt7915e"), WEAK, None),
        # Nothing is known.
        (x86("some_function"), WEAK, None),
    ],
)
def test_x86_oops(text: str, attribution: Attribution, driver: str | None) -> None:
    faults = faults_of(text)
    assert verdict(faults) is attribution
    if attribution is not NONE:
        (fault,) = faults
        assert fault.fault_class is FaultClass.KERNEL_OOPS
        assert fault.driver == driver
        assert fault.line.startswith("BUG: kernel NULL pointer dereference")


def test_unreliable_frames_and_the_module_list_prove_nothing() -> None:
    text = x86("some_function").replace(
        "? __die+0x23/0x70", "? nf_flow_offload_ip_hook+0x1/0x2 [nf_flow_table]"
    )
    assert only(text).attribution is WEAK


ARM64_OOPS = """
    Unable to handle kernel paging request at virtual address dead000000000108
    Mem abort info:
      ESR = 0x0000000096000044
      EC = 0x25: DABT (current EL), IL = 32 bits
    [dead000000000108] address between user and kernel address ranges
    Internal error: Oops: 0000000096000044 [#1] SMP
    Modules linked in: nft_flow_offload mt7915e(O) nf_flow_table
    CPU: 0 UID: 0 PID: 11 Comm: kworker/u8:1 Tainted: G           O       6.6.30 #0
    Hardware name: Some router (DT)
    Workqueue: nf_ft_offload_del flow_offload_work_handler [nf_flow_table]
    pstate: 60400005 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)
    pc : mtk_flow_offload_cmd+0x1c4/0x5b0
    lr : mtk_eth_setup_tc_block_cb+0x30/0x40
    sp : ffffffc080000000
    x29: ffffffc080000000 x28: 0000000000000000 x27: 0000000000000000
    Call trace:
     mtk_flow_offload_cmd+0x1c4/0x5b0
     nf_flow_offload_tuple+0xe0/0x170 [nf_flow_table]
     flow_offload_work_handler+0x50/0x2e0 [nf_flow_table]
     process_one_work+0x178/0x2f0
    Code: f9000001 d65f03c0 (f9000460)
    ---[ end trace 0000000000000000 ]---
"""

MIPS_OOPS = """
    CPU 2 Unable to handle kernel paging request at virtual address 00000014, epc == 8e6b5a3c
    Oops[#1]:
    CPU: 2 PID: 0 Comm: swapper/2 Not tainted 5.15.60 #0
    $ 0   : 00000000 00000001 00000024 80242e58
    Hi    : 00000002
    epc   : 8e6b5a3c nf_flow_offload_ip_hook+0x12c/0x5d8 [nf_flow_table]
    ra    : 8e6b5a18 nf_flow_offload_ip_hook+0x108/0x5d8 [nf_flow_table]
    Status: 11007c03\tKERNEL EXL IE
    Cause : 40800008 (ExcCode 02)
    BadVA : 00000014
    Process swapper/2 (pid: 0, threadinfo=5b8b8b8b, task=5b8b8b8b, tls=00000000)
    Stack : 00000000 00000000
            ...
    Call Trace:
    [<8e6b5a3c>] nf_flow_offload_ip_hook+0x12c/0x5d8 [nf_flow_table]
    [<8049b0d8>] nf_hook_slow+0x60/0xf0
    [<8045c0d8>] __netif_receive_skb_core+0x3f0/0xbb0

    Code: 8c420000

    ---[ end trace 0000000000000000 ]---
"""

ARM_OOPS = """
    8<--- cut here ---
    Unable to handle kernel NULL pointer dereference at virtual address 00000010 when read
    [00000010] *pgd=00000000
    Internal error: Oops: 5 [#1] SMP ARM
    Modules linked in: xt_FLOWOFFLOAD nf_flow_table
    CPU: 1 PID: 0 Comm: swapper/1 Not tainted 6.1.82 #0
    Hardware name: Generic DT based system
    PC is at ipqess_tx_poll+0x9c/0x210
    LR is at net_rx_action+0x100/0x2c0
    pc : [<c0600000>]    lr : [<c0700000>]    psr: 20000113
    Process swapper/1 (pid: 0, stack limit = 0x00000000)
     ipqess_tx_poll from __napi_poll+0x2c/0x180
     __napi_poll from net_rx_action+0x100/0x2c0
    Code: e5933010 e3530000
    ---[ end trace 0000000000000000 ]---
"""


def test_arm64_oops_on_the_offload_worker() -> None:
    fault = only(ARM64_OOPS)
    assert (fault.rule, fault.attribution) == ("kernel-page-fault", OFFLOAD)


def test_mips_oops_in_the_flow_hook() -> None:
    fault = only(MIPS_OOPS)
    assert fault.attribution is OFFLOAD
    assert "nf_flow_offload_ip_hook [nf_flow_table]" in fault.because


def test_arm_oops_in_the_ethernet_driver() -> None:
    fault = only(ARM_OOPS)
    assert (fault.attribution, fault.driver) == (DRIVER, "ipqess-edma")


def test_arm_frames_of_older_kernels() -> None:
    fault = only(
        """
        Unable to handle kernel NULL pointer dereference at virtual address 00000010
        CPU: 0 PID: 0 Comm: swapper/0 Not tainted 5.4.188 #0
        PC is at memcpy+0x50/0x330
        [<c0500000>] (memcpy) from [<bf000000>] (nf_flow_nat_ip+0x44/0x90 [nf_flow_table])
        [<bf000000>] (nf_flow_nat_ip [nf_flow_table]) from [<c0600000>] (nf_hook_slow+0x48/0xe0)
        """
    )
    assert (fault.attribution, fault.because) == (OFFLOAD, "nf_flow_nat_ip [nf_flow_table]")


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


WATCHDOG_TEXT = "NETDEV WATCHDOG: eth0 (mtk_soc_eth): transmit queue 3 timed out 5012 ms"
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
