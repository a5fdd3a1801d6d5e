# SPDX-License-Identifier: GPL-2.0-or-later
"""One life of the service: how it starts, reads its configuration again, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Sequence
from enum import StrEnum

from flowguard.actuators.approach import RELEASE_SECONDS, ConvergeError
from flowguard.actuators.hook import Hook
from flowguard.core.events import Event, StandbyChanged
from flowguard.core.interface import Interface
from flowguard.core.model import FlowTuple, KnownHosts, Level
from flowguard.core.requests import EndAbandoned, EndAsked, PlannedEnd
from flowguard.sensors.byte_counts import Bytes
from flowguard.sensors.devices import LinksSensor
from flowguard.sensors.firewall import FirewallSensor, TablesSensor
from flowguard.sensors.supervise import Sensor
from flowguard.service.greeting import greet
from flowguard.service.known_kernel import known
from flowguard.service.loop import Service
from flowguard.service.reloading import reload
from flowguard.service.saving import Progress
from flowguard.service.status import status

# What is left of a start when the end is asked for; a stuck driver must not keep us.
START_SECONDS = 30.0
# A drain is parked after `drain_limit`; what takes this much longer will never end.
END_MARGIN = 30.0
# Whoever asked for the end waits no longer, whatever `drain_limit` is.
END_DRAIN_SECONDS = 100.0
AGAIN_SECONDS = 1.0
FLASH_SECONDS = 10.0
# A kernel that refuses for a moment is asked again; the supervisor's patience has an end.
RETRY_SECONDS = 5.0
REFUSED_SECONDS = 30.0

log = logging.getLogger(__name__)


class End(StrEnum):
    """What an end leaves behind."""

    DRAIN = "drain"
    """The software level: without its guard no connection stays in hardware."""
    RELEASE = "release"
    """Nothing at all."""
    KEEP = "keep"
    """Everything as it is, for the next one that starts at once."""
    REBOOT = "reboot"
    """Everything as it is, because the machine goes down now."""


class Door(Interface):
    """Where requests come in."""

    async def start(self) -> None: ...

    def close(self) -> None: ...


class Running:
    """The doors are opened first, so that whoever comes is answered, and closed last."""

    def __init__(
        self,
        service: Service,
        doors: Sequence[Door] = (),
        opening: Sequence[Event] = (),
        late: Sequence[Sensor] = (),
    ) -> None:
        """`opening` is what the policy hears first; `late` runs once the start has succeeded."""
        self.hook = Hook(service.machine.files, service.machine.programs)
        service.moments.look = lambda: status(service, self)
        self._service = service
        self._doors = doors
        self._opening = opening
        self._late = late
        self._firewall = FirewallSensor(
            service.standby,
            service.newest_plan.intact,
            service.feed,
            service.now,
            service.newest_plan.held,
        )
        self._starting: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._ended = asyncio.Event()
        self._ending = asyncio.Lock()
        self._reloading = asyncio.Lock()
        self._release_asked = False
        self._goes_on = True
        self._left: tuple[FlowTuple, ...] = ()

    @property
    def stopping(self) -> bool:
        return self._ending.locked() or self._ended.is_set()

    async def run(self) -> None:
        """Serve until an end is asked for."""
        for door in self._doors:
            await door.start()
        self._starting = asyncio.create_task(self._start())
        self._starting.add_done_callback(self._start_ended)
        await self._ended.wait()
        for door in self._doors:
            door.close()
        self._starting.cancel()
        await asyncio.wait([self._starting])
        await self._service.close()
        if not self._starting.cancelled():
            self._starting.result()  # Raises what it failed with.

    async def started(self) -> None:
        """Wait until requests can be served."""
        await self._started.wait()

    async def started_within(self, seconds: float) -> None:
        """The same, but for no longer than that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._started.wait()

    async def _start(self) -> None:
        service = self._service
        service.converger.recover()
        held, seed = await service.newest_plan.left_behind()
        evidence = service.evidence.load()
        service.byte_counts.go_on_from(service.kept_bytes.load() or Bytes())
        events = await service.ledger.begin(service.configuration, evidence, held, seed)
        for event in (*events, *self._opening):
            service.feed(event)
        service.feed(known(service.machine))
        service.hosts.go_on_from(service.kept_hosts.load() or KnownHosts())
        if service.ledger.health != "ok":
            service.problems.found("memory", [service.ledger.health])
        if service.state.software_drops:
            service.problems.found("kernel", [service.state.software_drops])
        if service.configuration.clear_crash_dumps:
            await service.ledger.kept()
            service.ledger.clear_dumps()
        # What is in hardware from before has its guards again before anything else.
        self._start_sensors()
        try:
            if await service.standby.look(tables_lost=False):
                service.feed(StandbyChanged(service.now(), service.standby.reason))
        except OSError as error:
            log.warning("the tables of others cannot be seen: %s", error)
        # Before the first tables: a flow that software takes stays there.
        await service.supervision.first_signs((service.hosts.name,))
        await service.look_at_devices()
        # Whatever has come since that look.
        self._firewall.touched()
        await service.standby.look_for_competitors()
        self._started.set()
        for sensor in self._late:
            service.supervision.start(sensor)
        greet(service)

    def _start_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception():
            self._ended.set()  # Without a start there is nothing to wait for.

    def _start_sensors(self) -> None:
        service = self._service
        service.telling.add("hook", self.hook)
        for sensor in (
            service.kernel_log,
            service.flow_counts,
            service.arms,
            service.engine_table,
            service.rescans,
            service.hosts,
            LinksSensor(service.machine.network, service.look_for_devices),
            TablesSensor(service.tables, self._firewall.touched),
            self._firewall,
            self.hook,
            Progress(service.save_progress),
        ):
            service.supervision.start(sensor)

    async def look_again(self) -> None:
        """At the devices, and for other programs' flow offloading."""
        await self.started()
        await self._service.look_at_devices()
        await self._service.standby.look_for_competitors()

    # --- configuration ------------------------------------------------------------------

    async def reload(self) -> None:
        """Read the configuration again; only what changed is converged.

        A file that cannot be read changes nothing: half an edit must not cost the speed.
        """
        await self.started()
        # One after the other, or the older of two files could be applied last.
        async with self._reloading:
            await reload(self._service)

    # --- the end ------------------------------------------------------------------------

    async def end(self, how: End) -> tuple[FlowTuple, ...]:
        """End as planned; returns the flows that would not leave hardware.

        Of two who ask, the first decides; but a release leaves nothing, whoever was first.

        Raises ConvergeError when the kernel refuses to let go: then nothing ends.
        """
        self._release_asked |= how is End.RELEASE
        async with self._ending:
            if self._ended.is_set():
                return self._left
            self._left = await self._leave(how)
            await _within(FLASH_SECONDS, self._service.ledger.kept())
            if self._release_asked and how is not End.RELEASE:
                self._left = await self._leave(End.RELEASE)
            self._ended.set()
            return self._left

    def end_now(self) -> None:
        """Without waiting for what an end waits for."""
        self._ended.set()

    async def end_anyway(self, how: End) -> None:
        """The same for whoever does not wait for an answer, and ends us in the end."""
        deadline = self._service.now() + REFUSED_SECONDS
        # Nothing may go up again behind our back.
        self._goes_on = False
        left: tuple[FlowTuple, ...] = ()
        while True:
            try:
                left = await self.end(how)
                break
            except ConvergeError as error:
                log.error("hardware could not be left: %s", error)
            if self._service.now() >= deadline:
                # What goes on in hardware is remembered again.
                await _within(FLASH_SECONDS, self._service.ledger.kept())
                break
            await asyncio.sleep(RETRY_SECONDS)
        for flow in left:
            log.error("still in hardware: %s", flow)
        self._ended.set()

    async def _leave(self, how: End) -> tuple[FlowTuple, ...]:
        if self._starting and how is not End.KEEP:
            # What it begins with must not come after what it is to end with.
            await asyncio.wait([self._starting], timeout=START_SECONDS)
        service = self._service
        if how in (End.DRAIN, End.RELEASE):
            leave = Level.SOFTWARE if how is End.DRAIN else Level.NONE
            service.feed(EndAsked(service.now(), leave))
        if how is not End.KEEP:
            # Somebody wants it so: what happens to the router now is not unplanned. And that
            # may be soon: who flashes a new system sends SIGTERM, and waits for no drain.
            service.feed(PlannedEnd(service.now()))
        if how is End.REBOOT:
            # Whatever is decided or noted from here on would count as what ended the boot.
            service.goes_down = True
        if how is End.DRAIN:
            return await self._leave_hardware()
        if how is End.RELEASE:
            return await self._release()
        return ()

    async def _leave_hardware(self) -> tuple[FlowTuple, ...]:
        """Wait until it is left, trying again as the policy does; what would not leave."""
        service = self._service
        service.converger.drain_limit = min(service.converger.drain_limit, END_DRAIN_SECONDS)
        service.converge_again()
        limit = service.converger.drain_limit + END_MARGIN
        try:
            async with asyncio.timeout(limit):
                left = await self._left_in_hardware()
        except TimeoutError as error:
            failure = service.state.failure
            service.converger.drain_limit = service.configuration.drain_limit
            service.feed(EndAbandoned(service.now(), self._goes_on))
            raise ConvergeError(failure.error if failure else _no_answer(limit)) from error
        return left

    async def _left_in_hardware(self) -> tuple[FlowTuple, ...]:
        plans = self._service.newest_plan
        while True:
            await plans.settled()
            try:
                left = await plans.left_in_hardware()
            except ConvergeError as error:
                log.warning("the tables cannot be read: %s", error)
                left = None
            if left is not None:
                return left
            # Refused for now: the policy tries again, and so do we.
            await asyncio.sleep(AGAIN_SECONDS)

    async def _release(self) -> tuple[FlowTuple, ...]:
        service = self._service
        limit = RELEASE_SECONDS + END_MARGIN
        try:
            async with asyncio.timeout(limit):
                return await service.newest_plan.release()
        except (ConvergeError, TimeoutError) as error:
            self._release_asked = False
            service.feed(EndAbandoned(service.now(), self._goes_on))
            raise ConvergeError(str(error) or _no_answer(limit)) from error


def _no_answer(seconds: float) -> str:
    return f"it has not answered in {seconds:g} s; a driver may be stuck"


async def _within(seconds: float, work: Awaitable[None]) -> None:
    """Wait for it, but not for longer."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        log.error("gave up waiting after %g s", seconds)
