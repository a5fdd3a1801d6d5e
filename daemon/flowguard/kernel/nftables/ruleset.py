# SPDX-License-Identifier: GPL-2.0-or-later
"""What exists of our tables, what should, and the changes that lead from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from flowguard.core.records import frozen
from flowguard.core.tables.description import Plan, Rule, Table
from flowguard.kernel.nftables.changes import (
    AddDevices,
    AddHosts,
    AddNames,
    AddRules,
    Change,
    CreateHostSets,
    CreateTable,
    DeleteTable,
    DropRules,
    RemoveDevices,
    RemoveHosts,
    RemoveNames,
)
from flowguard.kernel.nftables.expressions import rule_expressions
from flowguard.kernel.nftables.names import rule_comment, seed_in


@frozen
class TableState:
    """One of our tables as the kernel has it; None for a part that is not there.

    `rules` are the comments of the rules in order: a rule of somebody else has another. `hosts`
    is None where there are no sets for them, as in software.
    """

    priority: int | None
    hardware: bool | None
    devices: tuple[str, ...]
    forward_names: tuple[str, ...]
    rules: tuple[str, ...]
    hosts: tuple[str, ...] | None = None


@frozen
class TablesState:
    hardware: TableState | None
    software: TableState | None


@frozen
class ForeignFlowtable:
    """A flowtable of somebody else, which competes for the same flows."""

    table: str
    hardware: bool
    devices: tuple[str, ...]

    def __str__(self) -> str:
        kind = "hardware" if self.hardware else "software"
        return f"table {self.table} has a {kind} flowtable of its own on {', '.join(self.devices)}"


def wanted_state(plan: Plan) -> TablesState:
    """The state that a dump must show once the plan is applied."""
    return TablesState(
        hardware=_wanted(plan.hardware) if plan.hardware else None,
        software=_wanted(plan.software) if plan.software else None,
    )


def _wanted(table: Table) -> TableState:
    return TableState(
        priority=table.priority,
        hardware=table.hardware,
        devices=tuple(sorted(table.devices)),
        forward_names=tuple(sorted(table.forward_names)),
        rules=tuple(map(comment_of, table.rules)),
        hosts=tuple(sorted(table.hosts)) if table.hardware else None,
    )


# Every look at the tables compares the comments of all rules.
@lru_cache(maxsize=1024)
def comment_of(rule: Rule) -> str:
    """The comment that the rule has in the kernel."""
    return rule_comment(rule_expressions(rule), rule.seed)


def seed_of(found: TablesState) -> int | None:
    """What the rules that are there draw the arms by; None when no rule draws."""
    tables = [table for table in (found.hardware, found.software) if table]
    seeds = (seed_in(comment) for table in tables for comment in table.rules)
    return next((seed for seed in seeds if seed is not None), None)


def create(table: Table) -> list[Change]:
    """Changes for a table that does not exist."""
    return [CreateTable(table)]


def remove(name: str, found: TableState | None) -> list[Change]:
    return [DeleteTable(name)] if found else []


def rebuild(table: Table | None, name: str, found: TableState | None) -> list[Change]:
    """Changes that replace a whole table; its flows fall to the slow path and are taken anew."""
    return [*remove(name, found), *(create(table) if table else [])]


def can_update(table: Table, found: TableState) -> bool:
    """Whether the bones are right, so that `update` can do without a rebuild."""
    return found.priority == table.priority and found.hardware == table.hardware


def update(table: Table, found: TableState) -> list[Change]:
    """Changes of a table in place: no flow notices."""
    name, wanted = table.name, _wanted(table)
    changes: list[Change] = []
    if removed := _difference(found.devices, wanted.devices):
        changes.append(RemoveDevices(name, table.priority, removed))
    if added := _difference(wanted.devices, found.devices):
        changes.append(AddDevices(name, table.priority, table.hardware, added))
    if removed := _difference(found.forward_names, wanted.forward_names):
        changes.append(RemoveNames(name, removed))
    if added := _difference(wanted.forward_names, found.forward_names):
        changes.append(AddNames(name, added, makes_set=not found.forward_names))
    changes += _update_hosts(name, found.hosts, wanted.hosts)
    if found.rules != wanted.rules:
        changes += drop_rules(name, found)
        if table.rules:
            changes.append(AddRules(name, table.rules))
    return changes


def _update_hosts(
    name: str, found: tuple[str, ...] | None, wanted: tuple[str, ...] | None
) -> list[Change]:
    if wanted is None:
        return []
    changes: list[Change] = []
    if found is None:
        # A table of a release that did not have them.
        changes.append(CreateHostSets(name))
    if removed := _difference(found or (), wanted):
        changes.append(RemoveHosts(name, removed))
    if added := _difference(wanted, found or ()):
        changes.append(AddHosts(name, added))
    return changes


def drop_rules(name: str, found: TableState) -> list[Change]:
    """Changes that make a table take no new flows."""
    return [DropRules(name)] if found.rules else []


def _difference(left: Sequence[str], right: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(left) - set(right)))
