# SPDX-License-Identifier: GPL-2.0-or-later
"""What tables mean for devices, and the steps from those that are found to those of a plan."""

from __future__ import annotations

from flowguard.core.model import Level
from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE, Plan, Table
from flowguard.kernel.nftables import ruleset
from flowguard.kernel.nftables.changes import Change, RemoveHosts
from flowguard.kernel.nftables.ruleset import TablesState, TableState


def levels_in(found: TablesState) -> tuple[tuple[str, Level], ...]:
    """The level that each device has by these tables; one that is not named is on none."""
    levels: dict[str, Level] = {}
    for level, table in ((Level.SOFTWARE, found.software), (Level.HARDWARE, found.hardware)):
        if table and table.rules:
            levels |= {name: level for name in table.devices if name in table.forward_names}
    return tuple(sorted(levels.items()))


def lower_level(found: TablesState, plan: Plan) -> list[Change]:
    """The software table alone, as the plan wants it."""
    if found.software == ruleset.wanted_state(plan).software:
        return []
    return ruleset.rebuild(plan.software, SOFTWARE_TABLE, found.software)


def last_changes(found: TablesState, plan: Plan) -> list[Change]:
    """All of the plan, where nothing has to be drained any more."""
    changes = _hardware(found.hardware, plan.hardware)
    # Rebuilt also when hardware takes more, so that busy flows are taken anew, one level up.
    takes_more = not all(isinstance(change, RemoveHosts) for change in changes)
    if takes_more or found.software != ruleset.wanted_state(plan).software:
        changes += ruleset.rebuild(plan.software, SOFTWARE_TABLE, found.software)
    return changes


def _hardware(found: TableState | None, table: Table | None) -> list[Change]:
    if table is None:
        return ruleset.remove(HARDWARE_TABLE, found)
    return ruleset.update(table, found) if found else ruleset.create(table)
