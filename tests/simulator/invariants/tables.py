# SPDX-License-Identifier: GPL-2.0-or-later
"""What must hold of our tables and sysctls in the kernel, whatever the daemon believes."""

from __future__ import annotations

from tests.simulator.invariants.clock import AbleTime
from tests.simulator.machine.flowtables import TIMEOUTS
from tests.simulator.machine.ruleset import HeldTable, Tables
from tests.simulator.machine.transactions import Transaction
from tests.simulator.process import Process
from tests.simulator.router import Life, Router
from tests.simulator.world import World

UNGUARDED_SECONDS = 60.0
"""Longer than any supervisor needs, with a start and a step down after too many deaths."""
TIMEOUT_MARGIN = 30.0
SETTLED_SECONDS = 1.5
"""A flow that leaves in the first moments of a drain may never have been seen in it."""
SILENT_SECONDS = 240.0
"""An end may take a drain and a stuck kernel; after that it is no end."""


class TableRules:
    """`released`: since when nothing of ours may be there."""

    def __init__(self, world: World, router: Router, able: AbleTime) -> None:
        self.released = False
        self.by_force = False
        self._world = world
        self._router = router
        self._able = able
        self._unguarded_since: float | None = None
        self._zero_since: float | None = None
        self._stopping_since: float | None = None
        self._takes_none_since = 0.0
        self._told: set[str] = set()
        router.kernel.commit_hooks.append(self._committed)
        router.ended.append(self._life_ended)
        router.began.append(self._process_began)

    def look(self) -> None:
        if self._router.is_off:
            self._unguarded_since = self._zero_since = None
            return
        self._look_at_guard()
        self._look_at_timeouts()
        self._look_at_end()

    def _look_at_guard(self) -> None:
        now = self._world.now
        hardware = self._router.kernel.ruleset.hardware
        life = self._router.life
        if hardware is None or not hardware.rules or (life and life.alive):
            self._unguarded_since = None
        elif self._unguarded_since is None:
            self._unguarded_since = now
        elif now - self._unguarded_since > UNGUARDED_SECONDS and not self._stuck():
            self._once(f"hardware takes flows without a guard since {self._unguarded_since:.0f}")

    def _look_at_timeouts(self) -> None:
        now = self._world.now
        sysctls = self._router.kernel.sysctls
        if all(sysctls[name] for name in TIMEOUTS.values()):
            self._zero_since = None
        elif self._zero_since is None:
            self._zero_since = now
        else:
            limit = self._router.platform.configuration.drain_limit
            limit = max(limit, 120) if self.by_force else limit
            if now - self._zero_since > limit + TIMEOUT_MARGIN:
                self._once(f"flow timeouts are 0 since {self._zero_since:.0f}")

    def _look_at_end(self) -> None:
        """A daemon that neither ends nor guards."""
        life, now = self._router.life, self._world.now
        stopping = life and life.alive and life.running and life.running.stopping
        if not stopping or self._stuck():
            self._stopping_since = None
        elif self._stopping_since is None:
            self._stopping_since = now
        elif now - self._stopping_since > SILENT_SECONDS:
            self._once(f"flowguard has been stopping since {self._stopping_since:.0f}")

    def _committed(self, transaction: Transaction, before: Tables, after: Tables) -> None:
        if not isinstance(transaction.owner, Process):
            return
        if self.released and after.keys() - before.keys():
            self._once("a table of ours appears after the release")
        hardware = before.get("flowguard")
        if hardware and hardware.hardware:
            self._look_at_engine(hardware, after.get("flowguard"))
        now = after.get("flowguard")
        if hardware and hardware.rules and not (now and now.rules):
            self._takes_none_since = self._world.now

    def _look_at_engine(self, before: HeldTable, after: HeldTable | None) -> None:
        """Nothing of ours is in the engine when its driver is unbound."""
        kept = after.devices if after and after.identity == before.identity else ()
        unbound = set(before.devices) - set(kept)
        if not unbound or self.by_force:
            return
        kernel = self._router.kernel
        inside = [
            connection
            for connection in kernel.connections.by_id.values()
            if connection.is_in_engine and unbound & set(connection.ports)
        ]
        # What was left behind before the drain began cannot be told from what others put there.
        forgotten = [
            slot
            for slot in kernel.engine.slots.values()
            if unbound & set(slot.ports)
            and not slot.is_told
            and slot.left_at >= self._takes_none_since + SETTLED_SECONDS
        ]
        present = unbound & set(kernel.netdevs.by_name)
        if (inside or forgotten) and present and kernel.engine.is_shown:
            self._once(
                f"{', '.join(sorted(unbound))} are unbound with {len(inside)} flows"
                f" and {len(forgotten)} entries in the engine"
            )

    def _process_began(self) -> None:
        """What one before has seen to be in hardware is not known to the next one."""
        self._takes_none_since = max(self._takes_none_since, self._world.now)

    def _life_ended(self, life: Life) -> None:
        """After a planned stop nothing goes on unguarded."""
        hardware = self._router.kernel.ruleset.hardware
        planned = not life.process.dead and life.process.failure is None
        wants_none = life.told_to_end in ("stop", "drain", "release")
        refused = self._router.kernel.ruleset.refuses or self._stuck()
        if planned and wants_none and hardware and hardware.rules and not refused:
            self._once(f"hardware takes flows after the planned end ({life.told_to_end})")

    def _stuck(self) -> bool:
        return self._router.kernel.transactions.is_busy

    def _once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._world.violate(text)
