# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads flowguard's rules into the namespace that this program runs in, without `flow add`.

Run: python -m tests.home.rules SHARE SEED DEVICE...
"""

from __future__ import annotations

import asyncio
import sys

from flowguard.core.arms.draw import Draw
from flowguard.core.model import Device, Level
from flowguard.core.tables.description import Offload
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel.nftables.changes import AddNames, AddRules
from flowguard.kernel.nftables.names import CHAIN
from flowguard.kernel.nftables.transactions import Nftables
from tests.lab.namespace import run

# One in so many; by default both arms are the same size.
BOTH_ARMS = 2


def load(share: int, seed: int, devices: list[str]) -> None:
    levels = dict.fromkeys(devices, Level.SOFTWARE)
    draw = Draw(control_share=share, seed=seed)
    found = [Device(name, number) for number, name in enumerate(devices, 1)]
    table = plan(found, levels, OffloadSettings(), draw).software
    assert table
    hook = f"{{ type filter hook forward priority {table.priority}; }}"
    run("nft", f"add table inet {table.name}; add chain inet {table.name} {CHAIN} {hook}")
    rules = tuple(rule for rule in table.rules if not isinstance(rule.action, Offload))
    names = AddNames(table.name, table.forward_names, makes_set=True)
    nftables = Nftables()
    asyncio.run(nftables.commit([names, AddRules(table.name, rules)]))


if __name__ == "__main__":
    load(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
