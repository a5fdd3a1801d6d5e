# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts offloaded flows per place, and those that the driver silently refused."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from contextlib import aclosing

from flowguard.core.events import Event, FlowsSeen
from flowguard.core.tables.description import Leave, Plan, Rule, Table
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, OFFLOADED, DumpInterrupted, Filter
from flowguard.kernel.machine import Connections, Machine, Sysctls
from flowguard.sensors.arms.drawing import Drawing
from flowguard.sensors.arms.looks import LOOKING_SHARE
from flowguard.sensors.beat import until_beat
from flowguard.sensors.byte_counts import ByteCounts

POLL_SECONDS = 10.0
ATTEMPTS = 5
# The kernel asks the driver again about once a second; what lasts longer is a refusal.
LASTING = 2.0
SUSPECTS = 500
COUNTING = "net/netfilter/nf_conntrack_acct"
NOTHING = Plan(None, None)
NOT_COUNTING = "not available: net.netfilter.nf_conntrack_acct=0, so nobody counts them"

log = logging.getLogger(__name__)


class FlowCountsSensor:
    """Looks every POLL_SECONDS while there are tables, and until their flows have gone.

    `plan` gives the tables that the kernel holds now, `min_packets` the setting. `counters`
    is for the status: whether flows are counted as that setting needs it, and `bytes_counted` is
    whether their bytes are. `byte_counts` are fed with all connections when `others_look` says
    that nobody else does so, and else with what is looked at here.
    """

    name = "flows"
    patience: float | None = 60.0

    def __init__(
        self,
        machine: Machine,
        feed: Callable[[Event], None],
        plan: Callable[[], Plan],
        min_packets: Callable[[], int],
        byte_counts: ByteCounts | None = None,
        others_look: Callable[[], bool] = lambda: True,
    ) -> None:
        self.counters = self.bytes_counted = "ok"
        self._sysctls = machine.sysctls
        self._now = machine.clock.now
        self._feed = feed
        self._plan = plan
        self._min_packets = min_packets
        self._byte_counts = byte_counts or ByteCounts()
        self._others_look = others_look
        self._counter = FlowCounter(machine.connections, self._byte_counts)
        self._all_again = 0.0
        self._there_were_some = True  # Nobody knows before the first look.

    async def run(self, alive: Callable[[], None]) -> None:
        while True:
            self._look_at_counters()
            plan = self._plan()
            if plan != NOTHING or self._there_were_some:
                seen = await self._look(plan)
                self._there_were_some = bool(seen.hardware or seen.software)
                self._feed(seen)
            else:
                self._byte_counts.rest()
            self._byte_counts.sample(self._now())
            alive()
            await asyncio.sleep(until_beat(POLL_SECONDS))

    async def _look(self, plan: Plan) -> FlowsSeen:
        """At what is offloaded, and at all others when it is time for their bytes."""
        began = self._now()
        looks_at_all = began >= self._all_again and not self._others_look()
        seen = await self._counter.look(began, plan, looks_at_all=looks_at_all)
        if looks_at_all:
            self._all_again = began + (self._now() - began) / LOOKING_SHARE
        return seen

    def _look_at_counters(self) -> None:
        """Again and again: sysctl.d may come after us and switch counting off."""
        problem = counters_problem(self._sysctls, self._min_packets())
        if problem and self.counters != problem:
            log.error("%s", problem)
        self.counters = problem or "ok"
        self.bytes_counted = "ok" if is_counting(self._sysctls) else NOT_COUNTING


class FlowCounter:
    """Remembers the last look, because a refusal is only one that lasts."""

    def __init__(self, connections: Connections, byte_counts: ByteCounts | None = None) -> None:
        self._connections = connections
        self._byte_counts = byte_counts or ByteCounts()
        self._suspects: frozenset[int] = frozenset()
        self._since = 0.0
        self._refused = 0

    async def look(self, time: float, plan: Plan, *, looks_at_all: bool = False) -> FlowsSeen:
        """Count now; raises OSError, MalformedMessage.

        `looks_at_all`: connections that are not offloaded are read, too, for their bytes.
        `refused` needs two looks at least two seconds apart.
        """
        hardware = plan.hardware
        drawing = None
        if hardware and _same_reach(hardware, plan.software):
            drawing = Drawing(hardware)
        for _ in range(ATTEMPTS):
            try:
                in_hardware, in_software, suspects = await self._count(
                    drawing, Filter() if looks_at_all else OFFLOADED
                )
            except DumpInterrupted:
                continue
            if looks_at_all:
                self._byte_counts.looked()
            refused = self._compare(time, suspects) if drawing else self._forget()
            return FlowsSeen(time, in_hardware, in_software, refused)
        raise OSError(errno.EAGAIN, "the connection table changes faster than it can be read")

    async def _count(
        self, drawing: Drawing | None, wanted: Filter
    ) -> tuple[int, int, frozenset[int]]:
        """Flows in hardware and in software, and the ids of those that may be refused."""
        in_hardware = in_software = 0
        suspects: set[int] = set()
        async with aclosing(self._connections.sweep(wanted)) as batches:
            async for batch in batches:
                self._byte_counts.look(batch)
                for entry in batch:
                    if not entry.status & OFFLOAD:
                        continue
                    if entry.status & HW_OFFLOAD:
                        in_hardware += 1
                        continue
                    in_software += 1
                    if drawing is None or len(suspects) >= SUSPECTS:
                        continue
                    if not drawing.is_control(drawing.hash_of(entry)):
                        suspects.add(entry.id)
        return in_hardware, in_software, frozenset(suspects)

    def _compare(self, time: float, suspects: frozenset[int]) -> int:
        if self._suspects and time - self._since < LASTING:
            return self._refused
        self._refused = len(suspects & self._suspects)
        self._suspects, self._since = suspects, time
        return self._refused

    def _forget(self) -> int:
        self._suspects, self._refused = frozenset(), 0
        return 0


def is_counting(sysctls: Sysctls) -> bool:
    """Whether connections are counted; where nobody knows, it is taken for granted."""
    try:
        return sysctls.get(COUNTING) != 0
    except OSError:
        return True


def counters_problem(sysctls: Sysctls, min_packets: int) -> str:
    """Why a minimum of packets would keep every flow from being offloaded, or "".

    The kernel switches counting on when such a rule is made (nft_ct_get_init in
    net/netfilter/nft_ct.c); it is off only when something switched it off afterwards.
    """
    name = COUNTING.replace("/", ".")
    if not min_packets:
        return ""
    try:
        counting = sysctls.get(COUNTING)
    except OSError as error:
        return f"min_packets needs {name}: {error.strerror or error}"
    if counting is None:
        return f"min_packets needs {name}, and this kernel does not have it"
    if counting:
        return ""
    return f"min_packets needs {name}=1: without it no new flow is ever offloaded"


def _same_reach(hardware: Table, software: Table | None) -> bool:
    """Whether every flow that software takes, the control group aside, is hardware's as well.

    It is not where there is a tunnel, or a bridge that has other ports beside those of hardware.
    """
    if software is None:
        return True
    all_names = set(software.forward_names) <= set(hardware.forward_names)
    return all_names and _left(hardware) == _left(software)


def _left(table: Table) -> list[Rule]:
    """What the table takes from no arm."""
    leaving = [rule for rule in table.rules if isinstance(rule.action, Leave)]
    return [rule for rule in leaving if rule.seed is None]
