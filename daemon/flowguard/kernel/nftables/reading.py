# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads our tables, and who else has flowtables."""

from __future__ import annotations

import errno
import time

from flowguard.core.model import Family
from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE
from flowguard.kernel.netlink.codec import Message
from flowguard.kernel.nftables import messages
from flowguard.kernel.nftables.messages import Request
from flowguard.kernel.nftables.names import HOST_SETS
from flowguard.kernel.nftables.ruleset import ForeignFlowtable, TablesState, TableState
from flowguard.kernel.nftables.transactions import Nftables

ATTEMPTS = 20
PAUSE = 0.01
"""Seconds, longer each time: whoever changes the ruleset again and again takes a while."""


def read(nftables: Nftables) -> TablesState:
    """Our tables as they are now; raises OSError when the kernel cannot say.

    EAGAIN: it was changed all the time, so that there was no consistent view.
    """
    for attempt in range(ATTEMPTS):
        generations: set[int] = set()
        state = TablesState(
            hardware=_read(nftables, HARDWARE_TABLE, generations),
            software=_read(nftables, SOFTWARE_TABLE, generations),
        )
        if len(generations) <= 1:
            return state
        time.sleep(PAUSE * attempt)
    raise OSError(errno.EAGAIN, "the ruleset changes faster than it can be read")


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
    hosts: list[str] | None = None
    if name == HARDWARE_TABLE and all(one(messages.get_host_set(name, f)) for f in Family):
        hosts = []
        for family in Family:
            for part in several(messages.get_elements(name, HOST_SETS[family])):
                hosts += messages.set_hosts(part.data)
    return TableState(
        priority=messages.chain_priority(chain.data) if chain else None,
        hardware=messages.is_hardware(flowtable.data) if flowtable else None,
        devices=messages.flowtable_devices(flowtable.data) if flowtable else (),
        forward_names=tuple(sorted(n for e in elements for n in messages.set_names(e.data))),
        rules=tuple(messages.rule_comment(rule.data) for rule in rules),
        hosts=None if hosts is None else tuple(sorted(hosts)),
    )
