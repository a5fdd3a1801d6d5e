# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports of the kernel as each architecture prints them, and what is made of them."""

from __future__ import annotations

from textwrap import dedent

from flowguard.core.faults import FaultAssembler, LogRecord
from flowguard.core.model import Attribution, Fault
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

WATCHDOG_TEXT = "NETDEV WATCHDOG: eth0 (mtk_soc_eth): transmit queue 3 timed out 5012 ms"


def x86(pc: str, *frames: str, module: str = "", workqueue: str = "events some_work") -> str:
    lines = "\n     ".join(f"{frame.partition(' ')[0]}+0x1/0x2{_tail(frame)}" for frame in frames)
    module = f" [{module}]" if module else ""
    return X86_OOPS.format(pc=pc, frames=lines, module=module, workqueue=workqueue)


def _tail(frame: str) -> str:
    return f" [{frame.partition(' ')[2]}]" if " " in frame else ""
