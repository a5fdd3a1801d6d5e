# SPDX-License-Identifier: GPL-2.0-or-later
"""The ruleset of our tables, as `nft` lists it or as we read it, and flowtables of others."""

from __future__ import annotations

import re

from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE
from flowguard.kernel.machine import Machine
from flowguard.kernel.nftables.ruleset import TableState
from flowguard.report.document import Section, ends_of, fenced

SECONDS = 10.0
MOST_BYTES = 256 * 1024
FIRST_LINES, LAST_LINES = 90, 30
# What people write into rules of their own is meant for them.
_COMMENT = re.compile(r' comment "(?!flowguard [0-9a-f]{8})[^"\n]*"')


async def tables_section(machine: Machine) -> Section:
    lines: list[str] = []
    for name in (HARDWARE_TABLE, SOFTWARE_TABLE):
        lines += ends_of(await _table(machine, name), FIRST_LINES, LAST_LINES)
    return Section("Tables", (*fenced(lines), "", *await _others(machine)))


async def _table(machine: Machine, name: str) -> list[str]:
    words = ("nft", "list", "table", "inet", name)
    try:
        ended = await machine.programs.run(words, seconds=SECONDS, most=MOST_BYTES)
    except OSError:
        return await _read(machine, name)
    if ended.status != 0 or not ended.output:
        return await _read(machine, name)
    text = ended.output.decode(errors="replace")
    return _COMMENT.sub("", text).rstrip().splitlines()


async def _read(machine: Machine, name: str) -> list[str]:
    """Without `nft`: as the service sees it."""
    try:
        state = await machine.tables.read()
    except OSError as error:
        return [f"table inet {name}: cannot be read: {error.strerror or error}"]
    table = state.hardware if name == HARDWARE_TABLE else state.software
    return _described(name, table) if table else [f"table inet {name}: not there"]


def _described(name: str, table: TableState) -> list[str]:
    kind = "hardware" if table.hardware else "software"
    ours = [rule for rule in table.rules if rule.startswith("flowguard ")]
    return [
        f"table inet {name}: a {kind} flowtable, priority {table.priority}",
        f"  devices {', '.join(table.devices)}",
        f"  forward names {', '.join(table.forward_names)}",
        f"  {len(table.rules)} rules, {len(table.rules) - len(ours)} of them not ours",
        *(f"  rule {rule}" for rule in ours),
        *(f"  host {host}" for host in table.hosts or ()),
    ]


async def _others(machine: Machine) -> list[str]:
    try:
        found = await machine.tables.foreign_flowtables()
    except OSError as error:
        return [f"- flowtables of others: not known: {error.strerror or error}"]
    return [f"- {foreign}" for foreign in found] or ["- no flowtables of others"]
