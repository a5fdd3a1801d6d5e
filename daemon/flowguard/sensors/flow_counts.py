# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts offloaded flows per place, and those that the driver silently refused."""

from __future__ import annotations

from flowguard.core.events import FlowsSeen
from flowguard.core.tables.description import Leave, MarkIs, Offload, Plan, Rule, Table
from flowguard.kernel import conntrack
from flowguard.kernel.conntrack import HW_OFFLOAD, IN_HARDWARE, IN_SOFTWARE, OFFLOAD, Filter, Flow

# The kernel asks the driver again about once a second; what lasts longer is a refusal.
LASTING = 2.0
SUSPECTS = 500


class FlowCounter:
    """Remembers the last look, because a refusal is only one that lasts."""

    def __init__(self) -> None:
        self._suspects: frozenset[Flow] = frozenset()
        self._since = 0.0
        self._refused = 0

    async def look(self, time: float, plan: Plan) -> FlowsSeen:
        """Count now; raises OSError. `refused` needs two looks at least two seconds apart."""
        return FlowsSeen(
            time=time,
            hardware=await conntrack.count(IN_HARDWARE),
            software=await conntrack.count(IN_SOFTWARE),
            refused=await self._count_refused(time, plan),
        )

    async def _count_refused(self, time: float, plan: Plan) -> int:
        if plan.hardware is None or not _same_reach(plan.hardware, plan.software):
            self._suspects, self._refused = frozenset(), 0
            return 0
        if self._suspects and time - self._since < LASTING:
            return self._refused
        mark = _control_mark(plan.hardware)
        wanted = Filter(OFFLOAD, OFFLOAD | HW_OFFLOAD, 0, mark)
        suspects = frozenset((await conntrack.look(wanted, SUSPECTS)).flows)
        self._refused = len(suspects & self._suspects)
        self._suspects, self._since = suspects, time
        return self._refused


def _same_reach(hardware: Table, software: Table | None) -> bool:
    """Whether every flow that software takes, the control group aside, is hardware's as well."""
    if software is None:
        return True
    return hardware.devices == software.devices and _left(hardware) == _left(software)


def _left(table: Table) -> list[Rule]:
    return [rule for rule in table.rules if isinstance(rule.action, Leave)]


def _control_mark(table: Table) -> int:
    """The bit whose flows the table does not take; 0 when it takes those of both arms."""
    taken = (rule.matches for rule in table.rules if isinstance(rule.action, Offload))
    return next((m.mask for matches in taken for m in matches if isinstance(m, MarkIs)), 0)
