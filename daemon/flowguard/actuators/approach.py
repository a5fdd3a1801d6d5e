# SPDX-License-Identifier: GPL-2.0-or-later
"""Brings the kernel's tables to a plan, without ever stranding an entry in the engine."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flowguard.actuators.damage import has_oopsed, without_unbinding
from flowguard.actuators.drain import Drain
from flowguard.core.events import DrainProgress
from flowguard.core.model import FlowTuple
from flowguard.core.records import replace
from flowguard.core.tables.description import HARDWARE_TABLE, SOFTWARE_TABLE, Plan, Table
from flowguard.kernel.nftables import ruleset
from flowguard.kernel.nftables.changes import Change, drivers_bound
from flowguard.kernel.nftables.probe import refusal_of
from flowguard.kernel.nftables.ruleset import TablesState, TableState
from flowguard.kernel.nftables.transactions import Nftables, NftablesError
from flowguard.kernel.sysctls import FlowTimeouts

ATTEMPTS = 4
RELEASE_SECONDS = 120.0
# The kernel changed between our dump and our batch: a device vanished, a table was flushed.
STALE = {errno.ENOENT, errno.EEXIST, errno.EBUSY, errno.ERESTART, errno.ENODEV}
NOTHING = Plan(None, None)


class ConvergeError(Exception):
    """The kernel refused; what was there before is still there.

    `device` is named when the refusal concerns one device alone.
    """

    def __init__(self, message: str, device: str | None = None) -> None:
        super().__init__(message)
        self.device = device


class Converger:
    """The only owner of flowguard's tables and of the flow timeouts.

    The kernel is the truth: every call starts with a dump, and a kernel that already
    matches is not touched. Calls are serialised; cancel a `converge` to supersede it by
    another: the next one goes on from what it finds. `flow_timeout` (seconds) holds while
    a hardware table exists; None leaves the kernel's.
    """

    def __init__(
        self,
        nftables: Nftables,
        runtime_directory: str,
        progress: Callable[[DrainProgress], None],
        *,
        flow_timeout: int | None = None,
    ) -> None:
        """`progress` is called whenever a look at a drain shows a change, and every 5 s."""
        self.flow_timeout = flow_timeout
        self._nftables = nftables
        self._progress = progress
        self._timeouts = FlowTimeouts(runtime_directory)
        self._lock = asyncio.Lock()
        self._reached: Plan | None = None
        self._drained: Drain | None = None

    def recover(self) -> None:
        """Put back the flow timeouts that a killed predecessor left changed; call it first."""
        self._timeouts.restore()

    async def converge(self, plan: Plan) -> None:
        """Return when a fresh dump equals the plan; raise ConvergeError when refused.

        Drains hardware first where a device leaves it; that can take as long as the flow
        timeout, and for ever with a driver that forgets (watch the progress, then cancel).
        """
        async with self._lock:
            with _reported():
                await self._reach(plan)

    async def intact(self) -> bool:
        """Whether the kernel still holds what the last successful `converge` put there."""
        async with self._lock:
            if self._reached is None:
                return True
            found = ruleset.read(self._nftables)
            return found == ruleset.wanted_state(_possible(_present(self._reached), found))

    async def release(self, limit: float = RELEASE_SECONDS) -> tuple[FlowTuple, ...]:
        """Drain for at most `limit` seconds, remove everything, restore the timeouts.

        Returns the flows that would not leave hardware; raises ConvergeError.
        """
        async with self._lock:
            self._drained = None
            with _reported():
                try:
                    async with asyncio.timeout(limit):
                        await self._reach(NOTHING)
                    return ()
                except TimeoutError:
                    left = await self._drained.remaining() if self._drained else ()
                    await self._remove_everything()
                    return left
                finally:
                    self._timeouts.restore()

    async def _reach(self, plan: Plan) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            present = _present(plan)
            try:
                await self._approach(present)
            except NftablesError as error:
                if error.errno in STALE and attempt < ATTEMPTS:
                    continue
                raise await self._explained(error) from error
            found = ruleset.read(self._nftables)
            if found == ruleset.wanted_state(_possible(_present(plan), found)):
                self._reached = plan
                self._set_timeouts(draining=False, hardware=present.hardware is not None)
                return
        raise ConvergeError("the tables do not stay as written: another program changes them")

    async def _approach(self, plan: Plan) -> None:
        """Everything that leads from what is there to the plan, draining in between."""
        found = ruleset.read(self._nftables)
        leaves = _leaves_hardware(found.hardware, plan.hardware)
        plan = _possible(plan, found)
        if found == ruleset.wanted_state(plan) and not leaves:
            return
        if leaves:
            await self._commit(_stop_taking(found, plan))
            await self._drain()
            found = ruleset.read(self._nftables)
        if (
            found.hardware
            and plan.hardware
            and not ruleset.can_update(plan.hardware, found.hardware)
        ):
            # Some drivers refuse a second binding, so the old one has to be gone first.
            await self._commit(ruleset.remove(HARDWARE_TABLE, found.hardware))
            found = replace(found, hardware=None)
        if plan.hardware:
            # Before the first flow is taken: it keeps the timeout that it started with.
            self._set_timeouts(draining=False, hardware=True)
        await self._commit(_finish(found, plan))

    async def _drain(self) -> None:
        try:
            self._set_timeouts(draining=True, hardware=True)
            self._drained = Drain(self._is_bound, self._progress)
            await self._drained.finish()
        finally:
            self._set_timeouts(draining=False, hardware=True)

    def _set_timeouts(self, draining: bool, hardware: bool) -> None:
        if draining:
            self._timeouts.override(0)
        elif hardware and self.flow_timeout is not None:
            self._timeouts.override(self.flow_timeout)
        else:
            self._timeouts.restore()

    def _is_bound(self) -> bool:
        return any(map(_exists, ruleset.bound_devices(self._nftables)))

    async def _commit(self, requests: list[Change]) -> None:
        if requests:
            await self._nftables.commit(requests)

    async def _remove_everything(self) -> None:
        found = ruleset.read(self._nftables)
        await self._commit(_finish(found, _possible(NOTHING, found)))
        self._reached = NOTHING

    async def _explained(self, error: NftablesError) -> ConvergeError:
        """Name the device when one alone is to blame."""
        change = error.refusals[0].change
        for device in drivers_bound(change) if change else ():
            refusal = await refusal_of(self._nftables, device, hardware=True)
            if refusal is not None:
                return ConvergeError(f"hardware flowtable on {device}: {refusal}", device)
        return ConvergeError(str(error))


@contextmanager
def _reported() -> Iterator[None]:
    """Whatever the kernel will not do becomes a ConvergeError."""
    try:
        yield
    except (NftablesError, OSError) as error:
        raise ConvergeError(str(error)) from error


def _present(plan: Plan) -> Plan:
    """The plan without absent devices: newer kernels would forbid their creation."""
    return Plan(_present_table(plan.hardware), _present_table(plan.software))


def _possible(plan: Plan, found: TablesState) -> Plan:
    """What can be had of the plan: a kernel that oopsed must not be asked to unbind."""
    return without_unbinding(plan, found.hardware) if has_oopsed() else plan


def _present_table(table: Table | None) -> Table | None:
    if table is None:
        return None
    devices = tuple(name for name in table.devices if _exists(name))
    return replace(table, devices=devices) if devices else None


def _exists(device: str) -> bool:
    try:
        socket.if_nametoindex(device)
    except OSError:
        return False
    return True


def _leaves_hardware(found: TableState | None, table: Table | None) -> bool:
    """Whether getting to the table unbinds a device that may hold flows."""
    if found is None or not found.hardware:
        return False
    stays = table.devices if table and ruleset.can_update(table, found) else ()
    return any(_exists(name) for name in found.devices if name not in stays)


def _stop_taking(found: TablesState, plan: Plan) -> list[Change]:
    """Hardware takes no new flow from here on; the level below takes them all at once."""
    requests = ruleset.drop_rules(HARDWARE_TABLE, found.hardware) if found.hardware else []
    if found.software != ruleset.wanted_state(plan).software:
        requests += ruleset.rebuild(plan.software, SOFTWARE_TABLE, found.software)
    return requests


def _finish(found: TablesState, plan: Plan) -> list[Change]:
    """From a state without anything to drain to the plan, in one transaction."""
    requests = _hardware(found.hardware, plan.hardware)
    if requests or found.software != ruleset.wanted_state(plan).software:
        # Rebuilt also when hardware changes, so that busy flows are taken anew, one level up.
        requests += ruleset.rebuild(plan.software, SOFTWARE_TABLE, found.software)
    return requests


def _hardware(found: TableState | None, table: Table | None) -> list[Change]:
    if table is None:
        return ruleset.remove(HARDWARE_TABLE, found)
    return ruleset.update(table, found) if found else ruleset.create(table)
