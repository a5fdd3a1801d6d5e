# SPDX-License-Identifier: GPL-2.0-or-later
"""What exists of our tables, what should, and the requests that lead from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from flowguard.core.records import frozen
from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE, Plan, Rule, Table
from flowguard.kernel.netlink.codec import Message
from flowguard.kernel.nftables import messages
from flowguard.kernel.nftables.expressions import rule_expressions
from flowguard.kernel.nftables.transactions import Nftables, Request

READ_ATTEMPTS = 20


@frozen
class TableState:
    """One of our tables as the kernel has it; None for a part that is not there.

    `rules` are the comments of the rules in order: a rule of somebody else has another.
    """

    priority: int | None
    hardware: bool | None
    devices: tuple[str, ...]
    forward_names: tuple[str, ...]
    rules: tuple[str, ...]


@frozen
class TablesState:
    hardware: TableState | None
    software: TableState | None


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
        rules=tuple(_encoded(table.name, rule)[1] for rule in table.rules),
    )


def create(table: Table) -> list[Request]:
    """Requests for a table that does not exist."""
    return [
        messages.new_table(table.name),
        messages.new_flowtable(table.name, table.priority, table.hardware, table.devices),
        messages.new_chain(table.name, table.priority),
        messages.new_set(table.name),
        messages.add_elements(table.name, table.forward_names),
        *_new_rules(table),
    ]


def remove(name: str, found: TableState | None) -> list[Request]:
    return [messages.delete_table(name)] if found else []


def rebuild(table: Table | None, name: str, found: TableState | None) -> list[Request]:
    """Requests that replace a whole table; its flows fall to the slow path and are taken anew."""
    return [*remove(name, found), *(create(table) if table else [])]


def can_update(table: Table, found: TableState) -> bool:
    """Whether the bones are right, so that `update` can do without a rebuild."""
    return found.priority == table.priority and found.hardware == table.hardware


def update(table: Table, found: TableState) -> list[Request]:
    """Requests that change a table in place: no flow notices."""
    wanted = _wanted(table)
    requests: list[Request] = []
    if removed := _difference(found.devices, wanted.devices):
        requests.append(messages.delete_flowtable_devices(table.name, table.priority, removed))
    if added := _difference(wanted.devices, found.devices):
        requests.append(messages.new_flowtable(table.name, table.priority, table.hardware, added))
    if not found.forward_names:
        requests.append(messages.new_set(table.name))
    if removed := _difference(found.forward_names, wanted.forward_names):
        requests.append(messages.delete_elements(table.name, removed))
    if added := _difference(wanted.forward_names, found.forward_names):
        requests.append(messages.add_elements(table.name, added))
    if found.rules != wanted.rules:
        if found.rules:
            requests.append(messages.delete_rules(table.name))
        requests += _new_rules(table)
    return requests


def drop_rules(name: str, found: TableState) -> list[Request]:
    """Requests that make a table take no new flows."""
    return [messages.delete_rules(name)] if found.rules else []


def _difference(left: Sequence[str], right: Sequence[str]) -> list[str]:
    return sorted(set(left) - set(right))


def _new_rules(table: Table) -> list[Request]:
    return [_encoded(table.name, rule)[0] for rule in table.rules]


# Encoding takes milliseconds a rule, and every look at the tables compares the comments.
@lru_cache(maxsize=1024)
def _encoded(table: str, rule: Rule) -> tuple[Request, str]:
    return messages.new_rule(table, rule_expressions(rule))


def read(nftables: Nftables) -> TablesState:
    """Our tables as they are now; raises OSError when the kernel cannot say."""
    for _ in range(READ_ATTEMPTS):
        generations: set[int] = set()
        state = TablesState(
            hardware=_read(nftables, HARDWARE_TABLE, generations),
            software=_read(nftables, SOFTWARE_TABLE, generations),
        )
        if len(generations) <= 1:
            break
    return state


@frozen
class ForeignFlowtable:
    """A flowtable of somebody else, which competes for the same flows."""

    table: str
    hardware: bool
    devices: tuple[str, ...]

    def __str__(self) -> str:
        kind = "hardware" if self.hardware else "software"
        return f"table {self.table} has a {kind} flowtable of its own on {', '.join(self.devices)}"


def foreign_flowtables(nftables: Nftables) -> tuple[ForeignFlowtable, ...]:
    """Flowtables outside our tables; raises OSError when the kernel cannot say."""
    found = [
        ForeignFlowtable(
            messages.flowtable_table(reply.data),
            messages.is_hardware(reply.data),
            messages.flowtable_devices(reply.data),
        )
        for reply in nftables.dump(messages.get_all_flowtables())
    ]
    return tuple(f for f in found if f.table not in (HARDWARE_TABLE, SOFTWARE_TABLE))


def bound_devices(nftables: Nftables) -> tuple[str, ...]:
    """The devices of our hardware flowtable; raises OSError when the kernel cannot say."""
    flowtable = nftables.get(messages.get_flowtable(HARDWARE_TABLE))
    if flowtable is None or not messages.is_hardware(flowtable.data):
        return ()
    return messages.flowtable_devices(flowtable.data)


def _read(nftables: Nftables, name: str, generations: set[int]) -> TableState | None:
    """One table; notes the ruleset generations it was read in, to notice a change between."""

    def one(request: Request) -> Message | None:
        reply = nftables.get(request)
        if reply:
            generations.add(reply.generation)
        return reply

    def several(request: Request) -> list[Message]:
        replies = nftables.dump(request)
        generations.update(reply.generation for reply in replies)
        return replies

    if one(messages.get_table(name)) is None:
        return None
    chain = one(messages.get_chain(name))
    flowtable = one(messages.get_flowtable(name))
    elements = several(messages.get_elements(name))
    rules = several(messages.get_rules(name))
    return TableState(
        priority=messages.chain_priority(chain.data) if chain else None,
        hardware=messages.is_hardware(flowtable.data) if flowtable else None,
        devices=messages.flowtable_devices(flowtable.data) if flowtable else (),
        forward_names=tuple(sorted(n for e in elements for n in messages.set_names(e.data))),
        rules=tuple(messages.rule_comment(rule.data) for rule in rules),
    )
