# SPDX-License-Identifier: GPL-2.0-or-later
"""Optional eyes on packet engines; a router without them works as well, only blinder."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from flowguard.core.model import FlowTuple
from flowguard.kernel.engines import mtk_ppe
from flowguard.kernel.engines.mtk_ppe import EngineEntry

__all__ = ["DEBUGFS", "EngineEntry", "bound_entries", "bound_flows", "is_readable", "sweep"]

DEBUGFS = "/sys/kernel/debug"


def is_readable(debugfs: str = DEBUGFS) -> bool:
    """Whether there is an engine that can be looked into."""
    return bool(mtk_ppe.paths(debugfs, mtk_ppe.BIND))


def sweep(
    debugfs: str = DEBUGFS, *, only_bound: bool = False
) -> AsyncGenerator[list[EngineEntry], None]:
    """The entries of all engines, some 40 at a time so that the loop gets its turns.

    Raises OSError when the driver does not let itself be read after all.
    """
    return mtk_ppe.sweep(debugfs, mtk_ppe.BIND if only_bound else mtk_ppe.ENTRIES)


def bound_flows(debugfs: str = DEBUGFS) -> tuple[FlowTuple, ...] | None:
    """The flows that the engine forwards now; None when no engine can be looked into."""
    return mtk_ppe.bound_flows(debugfs)


def bound_entries(debugfs: str = DEBUGFS) -> int | None:
    """How many entries the engine holds; None when no engine can be looked into."""
    flows = bound_flows(debugfs)
    return None if flows is None else len(flows)
