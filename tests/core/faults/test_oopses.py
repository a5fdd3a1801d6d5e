# SPDX-License-Identifier: GPL-2.0-or-later
"""Oopses and panics -> the fault that they mean."""

from __future__ import annotations

import pytest

from flowguard.core.faults import verdict
from flowguard.core.model import Attribution, FaultClass
from tests.core.faults.reports import (
    ARM64_OOPS,
    DRIVER,
    NONE,
    OFFLOAD,
    WEAK,
    faults_of,
    only,
    x86,
)


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
