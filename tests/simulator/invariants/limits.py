# SPDX-License-Identifier: GPL-2.0-or-later
"""What may be in hardware by now: by what people asked for, and by what the kernel reported.

Kept by the actors, from outside; nothing here asks the daemon.
"""

from __future__ import annotations

import math

from flowguard.core.model import Level
from flowguard.core.records import mutable
from tests.simulator.invariants.clock import AbleTime
from tests.simulator.machine.connection import Connection
from tests.simulator.machine.ruleset import HeldTable, Tables
from tests.simulator.machine.transactions import Transaction
from tests.simulator.process import Process
from tests.simulator.router import Router
from tests.simulator.topology import WIFI
from tests.simulator.world import World

BOUND = 1.5
"""Seconds, while it can act, from the reason to the last new flow in hardware."""
LEAVING_SECONDS = 40.0
"""More than a flow's time in hardware, after the drain."""
FORGETFUL = 3.0
"""What was asked for so long before a sudden end may not have reached flash."""


MOVE_SECONDS = 5.0
"""A host that comes or moves is told of and followed well before that."""
BOUND_SECONDS = 15.0


@mutable
class Limit:
    """Nothing above `level`, on these devices or (None) on all, from a time on."""

    why: str
    level: Level
    devices: tuple[str, ...] | None
    since: float
    able: float
    until: float = math.inf
    survives: bool = True
    is_told: bool = False


class Limits:
    """By name; the actors set and lift them. Until `flash_trouble_until` nothing may be saved."""

    def __init__(self, world: World, router: Router, able: AbleTime) -> None:
        self.by_name: dict[str, Limit] = {}
        self.flash_trouble_until = 0.0
        self._world = world
        self._router = router
        self._bound_since: dict[tuple[int, str], float] = {}
        self._able = able
        router.kernel.engine.entered = self._entered
        router.kernel.commit_hooks.append(self._committed)

    def set(
        self,
        name: str,
        level: Level,
        devices: tuple[str, ...] | None = None,
        *,
        until: float = math.inf,
        survives: bool = True,
    ) -> None:
        """A limit that is there already keeps its age."""
        now = self._world.now
        former = self.by_name.get(name)
        if former and former.level is level and former.devices == devices:
            former.until = max(former.until, until)
            return
        self._world.tell("limit %s: %s on %s", name, level, devices or "all")
        self.by_name[name] = Limit(name, level, devices, now, self._able.seconds, until, survives)

    def lift(self, name: str) -> None:
        if self.by_name.pop(name, None):
            self._world.tell("limit %s is lifted", name)

    def lift_all(self, prefix: str = "") -> None:
        for name in [n for n in self.by_name if n.startswith(prefix)]:
            self.lift(name)

    def life_ended(self) -> None:
        """What had not reached flash, or never goes there, is forgotten."""
        now = self._world.now
        for name, limit in list(self.by_name.items()):
            unsaved = now < self.flash_trouble_until or now - limit.since < FORGETFUL
            if not limit.survives or unsaved:
                self.lift(name)

    def in_force(self) -> list[Limit]:
        """Those that the daemon had the time to follow."""
        now, able = self._world.now, self._able.seconds
        for name in [n for n, limit in self.by_name.items() if now >= limit.until]:
            self.lift(name)
        return [limit for limit in self.by_name.values() if able - limit.able > BOUND]

    def look_inside(self) -> None:
        """What was in hardware before the limit has left it, some time after."""
        late = self._router.platform.last_read.drain_limit + LEAVING_SECONDS
        flows = [c for c in self._router.kernel.connections.by_id.values() if c.is_in_engine]
        for limit in self.in_force():
            if limit.level is Level.HARDWARE or self._able.seconds - limit.able < late:
                continue
            inside = [
                c for c in flows if limit.devices is None or set(limit.devices) & set(c.ports)
            ]
            if inside and not limit.is_told:
                limit.is_told = True
                age = self._world.now - limit.since
                self._world.violate(
                    f"{len(inside)} flows are still in hardware, {age:.0f} s after the limit"
                    f" {limit.why} ({limit.level})"
                )

    def _entered(self, connection: Connection) -> None:
        """A flow gets into the engine now; it counts by when its rule took it."""
        self._able.look()
        late = self._world.now - connection.entered
        self._look_behind(connection)
        for limit in self.in_force():
            concerned = limit.devices is None or set(limit.devices) & set(connection.ports)
            enough = self._able.seconds - limit.able - late > BOUND
            if concerned and enough and limit.level is not Level.HARDWARE:
                age = self._world.now - limit.since
                self._world.violate(
                    f"a new flow is in hardware of {' and '.join(connection.ports)},"
                    f" {age:.1f} s after the limit {limit.why} ({limit.level})"
                )

    def _look_behind(self, connection: Connection) -> None:
        """What hardware cannot see is never there, but for a moment after a host has moved."""
        moved = self._router.kernel.neighbourhood.moved_at.get(connection.original.source, 0.0)
        is_settled = connection.entered - moved > MOVE_SECONDS and self._can_follow()
        # Its path was found when it was offered, whatever it was before.
        port = self._router.kernel.neighbourhood.port_of(connection.original.source)
        if WIFI in connection.ports and port in (WIFI, None) and is_settled:
            self._world.violate(f"a flow of a host behind {WIFI} is in hardware")

    def _can_follow(self) -> bool:
        """Who has moved can be followed where connections can be seen and tables be changed."""
        kernel = self._router.kernel
        is_free = not (kernel.connections.error or kernel.transactions.is_refusing)
        return is_free and self._able.could_act()

    def look_at_moves(self) -> None:
        """No flow is bound for long to a port that its host has left."""
        kernel, now = self._router.kernel, self._world.now
        able = self._can_follow()
        for connection in kernel.connections.by_id.values():
            address = connection.original.source
            left = connection.ports[0] != (
                kernel.neighbourhood.port_of(address) or connection.ports[0]
            )
            key = (connection.id, connection.ports[0])
            if not (able and left and connection.is_in_engine):
                self._bound_since.pop(key, None)
            elif now - self._bound_since.setdefault(key, now) > BOUND_SECONDS:
                self._bound_since[key] = math.inf
                self._world.violate(f"a flow of {address} is bound to {connection.ports[0]}")

    def _committed(self, transaction: Transaction, before: Tables, after: Tables) -> None:
        """A program of ours makes a table take flows that may not be taken."""
        if not isinstance(transaction.owner, Process):
            return
        self._able.look()
        for name, table in after.items():
            former = before.get(name)
            if former and former.identity == table.identity and former.rules == table.rules:
                continue
            if table.rules:
                self._judge(table)

    def _judge(self, table: HeldTable) -> None:
        level = Level.HARDWARE if table.hardware else Level.SOFTWARE
        for limit in self.in_force():
            concerned = limit.devices is None or set(limit.devices) & set(table.devices)
            if concerned and level.rank > limit.level.rank:
                age = self._world.now - limit.since
                self._world.violate(
                    f"table {table.name} takes flows, {age:.1f} s after the limit"
                    f" {limit.why} ({limit.level})"
                )
