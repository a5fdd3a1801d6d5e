# SPDX-License-Identifier: GPL-2.0-or-later
"""Optional eyes on packet engines; a router without them works as well, only blinder."""

from __future__ import annotations

from flowguard.core.model import FlowTuple
from flowguard.offload.engines import mtk_ppe

DEBUGFS = "/sys/kernel/debug"


def bound_flows(debugfs: str = DEBUGFS) -> tuple[FlowTuple, ...] | None:
    """The flows that the engine forwards now; None when no engine can be looked into."""
    return mtk_ppe.bound_flows(debugfs)


def bound_entries(debugfs: str = DEBUGFS) -> int | None:
    """How many entries the engine holds; None when no engine can be looked into."""
    flows = bound_flows(debugfs)
    return None if flows is None else len(flows)
