# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be changed, as the requests that the kernel takes."""

from __future__ import annotations

from typing import assert_never

from flowguard.core.model import Family
from flowguard.core.tables.description import Rule, Table
from flowguard.kernel.nftables import messages
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
    TryFlowtable,
)
from flowguard.kernel.nftables.expressions import rule_expressions
from flowguard.kernel.nftables.messages import Request

TRIAL_TABLE = "flowguard_probe"


def encode(change: Change) -> list[Request]:
    """The requests of one change, in their order; milliseconds for each on a slow router."""
    match change:
        case CreateTable(table):
            return _whole(table)
        case DeleteTable(name):
            return [messages.delete_table(name)]
        case AddDevices(name, priority, hardware, devices):
            return [messages.new_flowtable(name, priority, hardware, devices)]
        case RemoveDevices(name, priority, devices):
            return [messages.delete_flowtable_devices(name, priority, devices)]
        case AddNames(name, names, makes_set):
            made = [messages.new_set(name)] if makes_set else []
            return [*made, messages.add_elements(name, names)]
        case RemoveNames(name, names):
            return [messages.delete_elements(name, names)]
        case CreateHostSets(name):
            return [messages.new_host_set(name, family) for family in Family]
        case AddHosts(name, hosts):
            return messages.add_hosts(name, hosts)
        case RemoveHosts(name, hosts):
            return messages.delete_hosts(name, hosts)
        case DropRules(name):
            return [messages.delete_rules(name)]
        case AddRules(name, rules):
            return _rules(name, rules)
        case TryFlowtable(device, hardware):
            flowtable = messages.new_flowtable(TRIAL_TABLE, 0, hardware, [device])
            return [messages.new_table(TRIAL_TABLE), flowtable]
        case _:
            assert_never(change)


def _whole(table: Table) -> list[Request]:
    return [
        messages.new_table(table.name),
        messages.new_flowtable(table.name, table.priority, table.hardware, table.devices),
        messages.new_chain(table.name, table.priority),
        messages.new_set(table.name),
        messages.add_elements(table.name, table.forward_names),
        *(encode(CreateHostSets(table.name)) if table.hardware else ()),
        *messages.add_hosts(table.name, table.hosts),
        *_rules(table.name, table.rules),
    ]


def _rules(table: str, rules: tuple[Rule, ...]) -> list[Request]:
    return [messages.new_rule(table, rule_expressions(rule), rule.seed) for rule in rules]
