# SPDX-License-Identifier: GPL-2.0-or-later
"""Brings the kernel's tables to a plan, without ever stranding an entry in the engine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from flowguard.actuators.damage import has_oopsed, without_unbinding
from flowguard.actuators.drain import Drain
from flowguard.actuators.flow_timeouts import FlowTimeouts
from flowguard.actuators.steps import last_changes, levels_in, lower_level
from flowguard.core.events import DrainProgress
from flowguard.core.model import FlowTuple, Level
from flowguard.core.records import frozen, replace
from flowguard.core.tables.description import HARDWARE_TABLE, Plan, Table
from flowguard.kernel.machine import Machine, Tables
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.kernel.nftables import ruleset
from flowguard.kernel.nftables.changes import Change, NftablesError, drivers_bound
from flowguard.kernel.nftables.ruleset import TablesState, TableState
from flowguard.sensors.capability import refusal_of

ATTEMPTS = 4
DRAIN_LIMIT = 60.0
# What could not be drained is not tried again for so long, unless somebody wants it removed.
PARKED_SECONDS = 600.0
RELEASE_SECONDS = 120.0
# The kernel changed between our dump and our batch: a device vanished, a table was flushed.
STALE = {errno.ENOENT, errno.EEXIST, errno.EBUSY, errno.ERESTART, errno.ENODEV}
NOTHING = Plan(None, None)


log = logging.getLogger(__name__)


class ConvergeError(Exception):
    """The kernel refused; what was there before is still there.

    `device` is named when the refusal concerns one device alone.
    """

    def __init__(self, message: str, device: str | None = None) -> None:
        super().__init__(message)
        self.device = device


@frozen
class Reached:
    """What the kernel was seen to hold: the level of each device that is on one.

    `parked` devices could not be drained in time; their driver stays bound.
    """

    held: tuple[tuple[str, Level], ...]
    parked: tuple[str, ...]


class Converger:
    """The only owner of flowguard's tables and of the flow timeouts.

    The kernel is the truth: every call starts with a dump, and a kernel that already
    matches is not touched. Calls are serialised; cancel a `converge` to supersede it by
    another: the next one goes on from what it finds. `flow_timeout` (seconds) holds while
    a hardware table exists; None leaves the kernel's. A drain takes `drain_limit` at most.
    """

    def __init__(
        self,
        machine: Machine,
        tables: Tables,
        runtime_directory: str,
        progress: Callable[[DrainProgress], None],
        is_safe: Callable[[], Awaitable[None]] | None = None,
        *,
        flow_timeout: int | None = None,
        drain_limit: float = DRAIN_LIMIT,
    ) -> None:
        """`progress` is called whenever a look at a drain shows a change, and every 5 s.

        `is_safe` is awaited before hardware gets more to do than it has: what must survive a
        crash is on flash by then. Nothing waits for it on the way down.
        """
        self.flow_timeout = flow_timeout
        self.drain_limit = drain_limit
        self._machine = machine
        self._tables = tables
        self._progress = progress
        self._is_safe = is_safe
        self._timeouts = FlowTimeouts(machine, runtime_directory)
        self._lock = asyncio.Lock()
        self._reached: Plan | None = None
        self._left_by_refusal: TablesState | None = None
        self._parked: tuple[str, ...] = ()
        self._parked_until = 0.0
        self._drained: Drain | None = None
        self._is_empty = False  # since hardware took its last flow

    def recover(self) -> None:
        """Put back the flow timeouts that a killed predecessor left changed; call it first."""
        self._timeouts.restore()

    async def converge(self, plan: Plan) -> Reached:
        """Return when a fresh dump equals the plan; raise ConvergeError when refused.

        Drains hardware first where a device leaves it, which takes about the flow timeout.
        With a driver that forgets it would never end: after `drain_limit` what is left is
        parked, without a rule but bound, and the rest of the plan goes on.
        """
        async with self._lock:
            with _reported():
                return await self._reach(plan, self._machine.clock.now() + self.drain_limit)

    async def intact(self) -> bool:
        """Whether the kernel holds what the last `converge` put there, or could not change."""
        async with self._lock:
            if self._reached is None and self._left_by_refusal is None:
                return True
            found = await self._tables.read()
            if self._reached is None:
                return found == self._left_by_refusal
            wanted = self._possible(self._present(self._reached), found)
            return self._without_absent(found) == ruleset.wanted_state(wanted)

    async def found(self) -> TablesState:
        """The tables as the kernel holds them now; raises ConvergeError."""
        with _reported():
            return await self._tables.read()

    async def left_in_hardware(self) -> tuple[FlowTuple, ...] | None:
        """What the engine may still forward: nothing, flows that would not leave, or (None) all.

        Raises ConvergeError.
        """
        found = (await self.found()).hardware
        if found is None or not found.devices:
            return ()
        if found.rules:
            return None
        if self._parked:
            return await self._remaining()
        # Where what comes after the drain was refused, hardware is empty all the same.
        return () if self._is_empty else None

    async def _remaining(self) -> tuple[FlowTuple, ...]:
        """As far as it can be seen."""
        try:
            return await self._drained.remaining() if self._drained else ()
        except (OSError, MalformedMessage) as error:
            log.warning("what is left in hardware cannot be seen: %s", error)
            return ()

    async def release(self, limit: float = RELEASE_SECONDS) -> tuple[FlowTuple, ...]:
        """Drain for at most `limit` seconds, remove everything, restore the timeouts.

        Returns the flows that would not leave hardware; raises ConvergeError.
        """
        async with self._lock:
            self._parked_until = 0.0
            with _reported():
                try:
                    await self._reach(NOTHING, self._machine.clock.now() + limit)
                    left: tuple[FlowTuple, ...] = ()
                    if self._parked:
                        left = await self._remaining()
                        await self._remove_everything()
                    return left
                finally:
                    self._timeouts.restore()

    async def _reach(self, plan: Plan, deadline: float) -> Reached:
        # Half a change is nobody else's doing.
        self._reached = self._left_by_refusal = None
        for attempt in range(1, ATTEMPTS + 1):
            present = self._present(plan)
            try:
                await self._approach(present, deadline)
            except NftablesError as error:
                if error.errno in STALE and attempt < ATTEMPTS:
                    continue
                with contextlib.suppress(OSError):  # The refusal is what has to be told.
                    self._left_by_refusal = await self._tables.read()
                raise await self._explained(error) from error
            found = await self._tables.read()
            if found == ruleset.wanted_state(self._possible(self._present(plan), found)):
                self._reached = plan
                self._set_timeouts(draining=False, hardware=found.hardware is not None)
                return Reached(levels_in(found), self._parked)
        raise ConvergeError("the tables do not stay as written: another program changes them")

    async def _approach(self, plan: Plan, deadline: float) -> None:
        """Everything that leads from what is there to the plan, draining in between."""
        found = await self._tables.read()
        leaves = self._leaving(found.hardware, plan.hardware)
        if not (leaves and self._is_parked(found)):
            self._parked = ()
            possible = self._possible(plan, found)
            if found == ruleset.wanted_state(possible) and not leaves:
                return
            if leaves:
                self._is_empty = False
                await self._stop_taking(found, possible)
                await self._drain(leaves, deadline)
                found = await self._tables.read()
        possible = self._possible(plan, found)
        if (
            found.hardware
            and possible.hardware
            and not ruleset.can_update(possible.hardware, found.hardware)
        ):
            # Some drivers refuse a second binding, so the old one has to be gone first.
            await self._commit(ruleset.remove(HARDWARE_TABLE, found.hardware))
            found = replace(found, hardware=None)
        await self._finish(found, possible)

    async def _finish(self, found: TablesState, plan: Plan) -> None:
        """From a state without anything to drain to the plan, in one transaction."""
        if plan.hardware:
            # Before the first flow is taken: it keeps the timeout that it started with.
            self._set_timeouts(draining=False, hardware=True)
        changes = last_changes(found, plan)
        if changes and plan.hardware and plan.hardware.rules and self._is_safe:
            await self._is_safe()
        await self._commit(changes)

    async def _stop_taking(self, found: TablesState, plan: Plan) -> None:
        """Hardware takes no new flow from here on; the level below takes them all at once."""
        rules = ruleset.drop_rules(HARDWARE_TABLE, found.hardware) if found.hardware else []
        try:
            await self._commit([*rules, *lower_level(found, plan)])
        except NftablesError:
            # That the level below is refused must not keep anything in hardware.
            await self._commit(rules)

    async def _drain(self, leaves: tuple[str, ...], deadline: float) -> None:
        """Until hardware is empty; what is not by then is parked."""
        held = levels_in(await self._tables.read())
        # A second attempt knows which entries of the engine the first one waited for.
        self._drained = Drain(self._machine, self._progress, held, self._is_bound, self._drained)
        try:
            self._set_timeouts(draining=True, hardware=True)
            if await self._drained.finish(deadline):
                self._drained, self._is_empty = None, True
            else:
                self._parked = leaves
                self._parked_until = self._machine.clock.now() + PARKED_SECONDS
        finally:
            self._set_timeouts(draining=False, hardware=True)

    async def _is_bound(self) -> bool:
        found = await self._tables.read()
        return found.hardware is not None and bool(found.hardware.hardware)

    def _is_parked(self, found: TablesState) -> bool:
        """Whether what is there was drained in vain a while ago, and has taken nothing since."""
        waits = bool(self._parked) and self._machine.clock.now() < self._parked_until
        return waits and found.hardware is not None and not found.hardware.rules

    def _set_timeouts(self, draining: bool, hardware: bool) -> None:
        if draining:
            self._timeouts.override(0)
        elif hardware and self.flow_timeout is not None:
            self._timeouts.override(self.flow_timeout)
        else:
            self._timeouts.restore()

    async def _commit(self, changes: list[Change]) -> None:
        if changes:
            await self._tables.commit(changes)

    async def _remove_everything(self) -> None:
        """By force, but for a kernel that oopsed."""
        self._parked = ()
        found = await self._tables.read()
        await self._commit(last_changes(found, self._possible(NOTHING, found)))
        self._reached = NOTHING

    async def _explained(self, error: NftablesError) -> ConvergeError:
        """Name the device when one alone is to blame."""
        change = error.refusals[0].change
        for device in drivers_bound(change) if change else ():
            refusal = await refusal_of(self._tables, device, hardware=True)
            if refusal is not None:
                return ConvergeError(f"hardware flowtable on {device}: {refusal}", device)
        return ConvergeError(str(error))

    def _possible(self, plan: Plan, found: TablesState) -> Plan:
        """What can be had of the plan.

        A kernel that oopsed must not be asked to unbind. While something is parked hardware
        takes no flow at all: a bridge does not tell which of its ports a flow will pass.
        """
        if self._parked:
            return without_unbinding(Plan(None, plan.software), found.hardware)
        if has_oopsed(self._machine.sysctls):
            return without_unbinding(plan, found.hardware)
        return plan

    def _present(self, plan: Plan) -> Plan:
        """The plan without absent devices: newer kernels would forbid their creation."""
        return Plan(self._present_table(plan.hardware), self._present_table(plan.software))

    def _present_table(self, table: Table | None) -> Table | None:
        if table is None:
            return None
        devices = tuple(name for name in table.devices if self._machine.network.exists(name))
        return replace(table, devices=devices) if devices else None

    def _without_absent(self, found: TablesState) -> TablesState:
        """What the kernel holds for devices that exist: newer ones keep the names of others."""
        exists = self._machine.network.exists
        hardware, software = (
            table and replace(table, devices=tuple(filter(exists, table.devices)))
            for table in (found.hardware, found.software)
        )
        return TablesState(hardware, software)

    def _leaving(self, found: TableState | None, table: Table | None) -> tuple[str, ...]:
        """The devices that getting to the table unbinds, and that may hold flows."""
        if found is None or not found.hardware:
            return ()
        stays = table.devices if table and ruleset.can_update(table, found) else ()
        exists = self._machine.network.exists
        return tuple(name for name in found.devices if name not in stays and exists(name))


@contextmanager
def _reported() -> Iterator[None]:
    """Whatever the kernel will not do becomes a ConvergeError."""
    try:
        yield
    except (NftablesError, MalformedMessage, OSError) as error:
        raise ConvergeError(str(error)) from error
