# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes out of hardware what the firewall has put there, before it switches its offloading off.

The firewall deletes its flowtable with all that is in it, and the kernel unbinds the driver
first: the engine would go on forwarding by entries that nobody sees or ends any more.
"""

from __future__ import annotations

import logging
import re

from flowguard.actuators.drain import Drain
from flowguard.actuators.first_look import UnreadEngines
from flowguard.actuators.flow_timeouts import FlowTimeouts
from flowguard.core.events import DrainProgress
from flowguard.core.model import FlowTuple
from flowguard.core.records import replace
from flowguard.kernel.machine import Ended, Machine
from flowguard.kernel.nftables.names import FIREWALL_TABLE

LIST_SECONDS = 10.0
OUTPUT_MOST = 1 << 22
# The firewall leaves the kernel's timeout of 30 seconds as it is.
LIMIT_SECONDS = 60.0
CHAIN = re.compile(r"^\s*chain (\S+) \{")
QUOTED = re.compile(r'"[^"]*"')
TAKES = re.compile(r"\bflow (?:add|offload) @\S+.* # handle (\d+)$")

log = logging.getLogger(__name__)


async def drain_firewall(machine: Machine, runtime_directory: str) -> tuple[FlowTuple, ...]:
    """What would not leave hardware in time; nothing where the firewall has no hardware.

    Its rules that hand flows over are deleted; the next reload of the firewall makes them anew.
    Raises OSError when the kernel or `nft` cannot be asked.
    """
    if not await _has_hardware(machine):
        return ()
    timeouts = FlowTimeouts(machine, runtime_directory)
    await _stop_taking(machine)
    # It may be the first look of all, which is not on record here.
    unread = replace(machine, engines=UnreadEngines())
    drain = Drain(unread, _told, (), lambda: _has_hardware(machine))
    try:
        timeouts.override(0)
        empty = await drain.finish(machine.clock.now() + LIMIT_SECONDS)
        return () if empty else await drain.remaining()
    finally:
        timeouts.restore()


async def _has_hardware(machine: Machine) -> bool:
    found = await machine.tables.foreign_flowtables()
    return any(table.hardware and table.table == FIREWALL_TABLE for table in found)


async def _stop_taking(machine: Machine) -> None:
    listed = await _nft(machine, "-a", "list", "table", "inet", FIREWALL_TABLE)
    chain = ""
    for line in listed.output.decode(errors="replace").splitlines():
        if found := CHAIN.match(line):
            chain = found[1]
        elif found := TAKES.search(QUOTED.sub("", line)):
            await _nft(machine, "delete", "rule", "inet", FIREWALL_TABLE, chain, "handle", found[1])


async def _nft(machine: Machine, *words: str) -> Ended:
    ended = await machine.programs.run(("nft", *words), seconds=LIST_SECONDS, most=OUTPUT_MOST)
    if ended.status != 0:
        raise OSError(f"nft {' '.join(words)} fails")
    return ended


def _told(progress: DrainProgress) -> None:
    log.debug("%s flows of the firewall are in hardware", progress.flows)
