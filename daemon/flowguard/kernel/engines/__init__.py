# SPDX-License-Identifier: GPL-2.0-or-later
"""Optional eyes on packet engines; a router without them works as well, only blinder."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from flowguard.kernel.engines import mtk_ppe
from flowguard.kernel.engines.mtk_ppe import EngineEntry

__all__ = ["DEBUGFS", "EngineEntry", "is_readable", "sweep"]

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
