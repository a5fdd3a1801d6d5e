# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop: every event goes through the policy, and what follows is done, saved and told.

In this order, for each event: decide, act, save, tell. Nothing that saves or tells can keep an
event from the policy, or a step down from the kernel. On the way up the kernel is asked only
when what must survive a crash is on flash; the tables' actuator waits for that.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from flowguard.actuators.approach import Converger
from flowguard.actuators.first_look import CarefulEngines
from flowguard.actuators.ledger import IntentLedger
from flowguard.actuators.moves import Moves
from flowguard.actuators.notify import Telling
from flowguard.actuators.rescue import Crossover
from flowguard.actuators.tables import NewestPlan
from flowguard.core.arms.detector import Evidence
from flowguard.core.events import (
    Command,
    Converge,
    Converged,
    ConvergeFailed,
    Decided,
    Event,
    FaultSeen,
    FollowHosts,
    Moved,
    Notify,
    PowerCycleNeeded,
    Rescue,
    Save,
    Tick,
    Try,
)
from flowguard.core.faults import FaultRules
from flowguard.core.model import Device, Fault, KnownHosts
from flowguard.core.policy import decide
from flowguard.core.records import replace
from flowguard.core.state import GUARDS, State
from flowguard.core.tables.description import Plan
from flowguard.core.tables.plan import plan
from flowguard.kernel.machine import Machine
from flowguard.kernel.nftables.ordered import OrderedTables
from flowguard.paths import Paths
from flowguard.platform.configuration.loading import Configuration, Loaded
from flowguard.sensors import last_boot
from flowguard.sensors.arms.looks import ArmsSensor
from flowguard.sensors.byte_counts import ByteCounts, Bytes
from flowguard.sensors.devices import Devices, DevicesSensor
from flowguard.sensors.engine_table import EngineTableSensor
from flowguard.sensors.firewall import Standby
from flowguard.sensors.flow_counts import FlowCountsSensor
from flowguard.sensors.hosts import HostsSensor
from flowguard.sensors.kernel_log import KernelLogSensor
from flowguard.sensors.last_boot import CrashEvidence
from flowguard.sensors.supervise import Supervision
from flowguard.service.frozen_moments import FrozenMoments
from flowguard.service.kept_record import KeptRecord
from flowguard.service.problems import Problems
from flowguard.service.recorder import EventRecorder
from flowguard.service.surroundings import Surroundings
from flowguard.service.tasks import Tasks

log = logging.getLogger(__name__)


class Service:
    """The state, with everything that feeds the policy and everything that it commands."""

    def __init__(
        self,
        machine: Machine,
        surroundings: Surroundings,
        paths: Paths,
        loaded: Loaded,
        fault_rules: FaultRules,
    ) -> None:
        self.tables = OrderedTables(machine.tables, machine.clock.now)
        self.now = machine.clock.now
        engines = CarefulEngines(
            machine.engines,
            machine.files,
            os.path.join(paths.runtime_directory, "engine-seen"),
            self.now,
            self.feed,
            lambda: self.ledger.kept(),
            lambda: bool(self.shut_eye),
        )
        self.goes_down = False
        self.machine = replace(machine, tables=self.tables, engines=engines)
        self.surroundings = surroundings
        self.paths = paths
        self.configuration: Configuration = loaded.configuration
        self.problems = Problems()
        self.state = State()
        self.telling = Telling()
        self.tasks = Tasks()
        self.supervision = Supervision(self.now, self.feed)
        self.fault_rules = fault_rules
        self.other_health: dict[str, Callable[[], str]] = {}
        self._asked = Converge(())
        self._begun: Converge | None = None
        # Whether the kernel has taken or refused tables, and whether it is being drained.
        self._first_answer = asyncio.Event()
        self._draining = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._make_actuators()
        self._make_sensors()

    def _make_actuators(self) -> None:
        runtime = self.paths.runtime_directory
        self.ledger = IntentLedger(
            self.machine, self.paths.state_directory, self._look_back, self.feed
        )
        self.converger = Converger(
            self.machine,
            self.tables,
            runtime,
            self.feed,
            self._is_safe,
            flow_timeout=self.configuration.flow_timeout,
            drain_limit=self.configuration.drain_limit,
        )
        self.newest_plan = NewestPlan(self.converger, self.feed, self.now)
        self._crossover = Crossover(
            self.machine, self.feed, lambda: self.state.trial is not None, self._takes_none
        )
        self._moves = Moves(self.machine.connections, self._hosts_placed)
        self._recorder = EventRecorder(self.machine.files, runtime)
        files = self.machine.files
        self.evidence = KeptRecord(files, runtime, "evidence.json", Evidence, "the arms' findings")
        self.kept_bytes = KeptRecord(files, runtime, "bytes.json", Bytes, "the bytes by path")
        self.kept_hosts = KeptRecord(files, runtime, "hosts.json", KnownHosts, "the hosts' ports")
        self.moments = FrozenMoments(self.machine, runtime, self.telling, self.tasks)

    def _make_sensors(self) -> None:
        self.devices = Devices(self.machine, self.feed, self.surroundings.interfaces, self._may_try)
        self.rescans = DevicesSensor(self.rescan)
        self.hosts = HostsSensor(self.machine, self.feed)
        self.standby = Standby(self.tables, self.surroundings.firewall)
        self.kernel_log = KernelLogSensor(
            self.machine, self.fault_rules, self.paths.runtime_directory, self._on_fault
        )
        self.byte_counts = ByteCounts()
        self.arms = ArmsSensor(self.machine, self.feed, self.byte_counts)
        self.flow_counts = FlowCountsSensor(
            self.machine,
            self.feed,
            lambda: self.newest_plan.reached,
            lambda: self.configuration.min_packets,
            self.byte_counts,
            lambda: self.arms.looks,
        )
        self.engine_table = EngineTableSensor(
            self.machine,
            self.feed,
            lambda: self.newest_plan.reached,
            lambda: self.state.epoch,
            lambda: self.shut_eye,
        )

    # --- one event ----------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """One event through the policy; its commands are carried out or started."""
        if self.goes_down:
            return
        before = self.state
        if event.time < before.time:
            # A look that took its time. Who replays has not what came meanwhile and led to nothing.
            event = replace(event, time=before.time)
        self.state, commands = decide(before, event)
        self._note_progress(event)
        if isinstance(event, Converged):
            self._converged()
        self._act(commands)
        if Save() in commands:
            self.ledger.save(self.configuration.wanted, self.state)
        self._arm_timer()
        self._tell(event, before, commands)

    def _act(self, commands: list[Command]) -> None:
        # First what everything else may wait for.
        for command in commands:
            if isinstance(command, Converge):
                self.converge(command)
        for command in commands:
            match command:
                case Try():
                    self.look_for_devices()
                case FollowHosts(moved, level):
                    self._follow_hosts()
                    if moved:
                        self.tasks.spawn(self._moves.follow(moved, level))
                case Rescue(seconds):
                    stalled = [s.flow for s in self.arms.stalled()]
                    self.tasks.spawn(self._crossover.run(stalled, seconds))

    def _note_progress(self, event: Event) -> None:
        if isinstance(event, Converged | ConvergeFailed):
            self._first_answer.set()
        if self.state.drain is None:
            self._draining.clear()
        else:
            self._draining.set()

    def _converged(self) -> None:
        reached = self.newest_plan.reached
        # Hosts alone change nothing for the arms: whoever is compared goes on to be.
        if self._asked is self._begun:
            self.arms.hosts_changed(reached)
        else:
            self.arms.begin(self._asked, reached)
            self._begun = self._asked
        # Whoever moved meanwhile; once what has converged is out of the way.
        asyncio.get_running_loop().call_soon(self._follow_hosts)

    def _tell(self, event: Event, before: State, commands: list[Command]) -> None:
        if isinstance(event, FaultSeen):
            self.telling.fault_seen(event.fault)
        for command in commands:
            if isinstance(command, Notify | Decided | PowerCycleNeeded | Moved):
                self.telling.tell(command)
        led = bool(commands)
        self.telling.safely(
            "event log", lambda: self._recorder.record(event, before, led_to_something=led)
        )
        self.moments.consider(event, before, self.state)

    def _arm_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        deadline = self.state.next_deadline()
        if deadline is not None:
            wait = max(0.0, deadline - self.now()) + 0.001
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait, lambda: self.feed(Tick(self.now())))

    def converge(self, command: Converge) -> None:
        """Have the kernel brought to these levels, by the rules that are configured now."""
        self._asked = command
        try:
            target = self._plan()
        except Exception as error:
            # The policy must hear of it, or it would wait for ever.
            log.exception("no tables can be made of this configuration")
            failed = ConvergeFailed(self.now(), f"internal error: {error}")
            asyncio.get_running_loop().call_soon(self.feed, failed)
            return
        self.newest_plan.start(target)

    def _plan(self) -> Plan:
        """The tables by what was asked for last, and by where hosts are now."""
        state, asked = self.state, self._asked
        settings = replace(self.configuration.offload_settings, software=not state.software_drops)
        return plan(state.devices, dict(asked.levels), settings, asked.draw, state.settled_hosts)

    def _follow_hosts(self) -> None:
        """The same levels, with the hosts that are known now.

        While the tables are being changed it waits until that is done, and what the kernel
        refused is tried again when the policy says so.
        """
        is_free = self.state.converged and not self.newest_plan.is_busy
        if is_free and self._changed():
            self.converge(self._asked)

    def _changed(self) -> bool:
        try:
            return self._plan() != self.newest_plan.reached
        except Exception:
            return True  # Converging tells of it.

    async def _hosts_placed(self) -> None:
        """While hardware is being drained it takes no flow, old way or new."""
        waiting = [asyncio.ensure_future(w) for w in (self._settled(), self._draining.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    async def _settled(self) -> None:
        await self._first_answer.wait()
        await self.newest_plan.settled()

    def converge_again(self) -> None:
        """The same levels, by rules that have changed."""
        self.converge(Converge(self.state.levels, self.state.draw, self.state.epoch))

    # --- what the parts ask of each other -----------------------------------------------

    def _takes_none(self) -> bool:
        """Whether a step down has come so far that no flow can go back up."""
        drain = self.state.drain
        return self.state.converged or (drain is not None and drain.flows is not None)

    @property
    def shut_eye(self) -> str:
        """Why the engine's table is not read on this kernel; "" when it is."""
        shut = self.state.shut_eye
        return shut.evidence if shut and shut.kernel == self.machine.release else ""

    async def _may_try(self, device: Device) -> bool:
        """A trial is a use of the driver, for which the policy has to be armed, on flash."""
        await self.ledger.kept()
        return device.name in {d.name for d in self.state.untried}

    def _on_fault(self, fault: Fault) -> None:
        self.feed(FaultSeen(self.now(), fault))

    async def _is_safe(self) -> None:
        """Hardware may get more to do: that is remembered, and known who guards it."""
        await self.ledger.kept()
        await self.supervision.first_signs(GUARDS)

    async def _look_back(self, judged: tuple[str, ...]) -> CrashEvidence:
        found = await last_boot.look(
            self.fault_rules,
            judged,
            self.machine.last_boot,
            self.surroundings.previous_boot,
            self.surroundings.beside,
        )
        self.moments.last_words = found.last_words
        return found

    async def rescan(self) -> None:
        """Look at the devices again, and at what netifd says; raises what was in the way."""
        await self.devices.rescan(self.configuration.device)

    async def look_at_devices(self) -> None:
        """The same now, and again later if it fails."""
        try:
            await self.rescan()
        except Exception as error:
            log.warning("the devices cannot be looked at: %s", error)
            self.look_for_devices()

    def look_for_devices(self) -> None:
        """The same, in the background."""
        self.rescans.ask()

    def save_progress(self) -> None:
        """So that a daemon that starts after this one goes on where it ended."""
        self.kernel_log.save_position()
        self._keep()

    async def close(self) -> None:
        """The end of this life: nothing changes in the kernel any more."""
        if self._timer:
            self._timer.cancel()
        await self.supervision.close()
        await self.tasks.close()
        await self.newest_plan.close()
        self.kernel_log.save_position()
        self._keep(now=True)

    def _keep(self, *, now: bool = False) -> None:
        self.evidence.save(self.state.evidence, self.state.time, now=now)
        if totals := self.byte_counts.totals:
            self.kept_bytes.save(totals, self.now(), now=now)
        # At once: who moves while no daemon runs is found by it.
        self.kept_hosts.save(KnownHosts(self.state.hosts), self.now(), now=True)
