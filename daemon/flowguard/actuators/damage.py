# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the running kernel has oopsed, and what that forbids.

An oops inside a driver's offload callback leaves the flowtable's lock held for ever
(flow_block_lock, net/netfilter/nf_flow_table_offload.c). Whoever unbinds the driver then
waits for it while holding nf_tables' own mutex, and with that every firewall command.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowguard.core.records import replace
from flowguard.core.tables.description import HARDWARE_PRIORITY, HARDWARE_TABLE, Plan, Table
from flowguard.kernel.machine import Sysctls
from flowguard.kernel.nftables.ruleset import TableState

TAINTED = "kernel/tainted"
TAINT_DIE = 1 << 7


def has_oopsed(sysctls: Sysctls) -> bool:
    """Taint flag D of this boot (Documentation/admin-guide/tainted-kernels.rst)."""
    return bool((sysctls.get(TAINTED) or 0) & TAINT_DIE)


def without_unbinding(plan: Plan, found: TableState | None) -> Plan:
    """The plan that comes closest while every bound device stays bound, without new flows."""
    if found is None or not found.hardware:
        return plan
    if plan.hardware is None:
        parked = Table(
            name=HARDWARE_TABLE,
            priority=HARDWARE_PRIORITY,
            hardware=True,
            devices=found.devices,
            forward_names=found.forward_names,
            rules=(),
            hosts=found.hosts or (),
        )
        return Plan(parked, plan.software)
    return Plan(_with_devices(plan.hardware, found.devices), plan.software)


def _with_devices(table: Table, bound: Sequence[str]) -> Table:
    return replace(table, devices=tuple(sorted({*table.devices, *bound})))
