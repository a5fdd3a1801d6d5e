# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon: sensors feed events to the policy, its commands go to the kernel and the log."""

from __future__ import annotations

import asyncio
import logging
import signal

from flowguard import rules
from flowguard.actuators.approach import Converger
from flowguard.actuators.ledger import IntentLedger
from flowguard.actuators.notify import Telling
from flowguard.actuators.rescue import Crossover
from flowguard.actuators.state_file import StateStore
from flowguard.actuators.tables import Convergence
from flowguard.core.events import (
    Command,
    Configured,
    Converge,
    Converged,
    Decided,
    Event,
    FaultSeen,
    LedgerFailed,
    LedgerKept,
    Notify,
    Rescue,
    Save,
    TablesLost,
    Tick,
    Try,
)
from flowguard.core.faults import FaultRules
from flowguard.core.model import Device, Fault, FlowTuple
from flowguard.core.policy import decide
from flowguard.core.requests import PlannedEnd
from flowguard.core.state import State
from flowguard.core.tables.plan import plan
from flowguard.kernel.clock import boot_id, monotonic
from flowguard.kernel.nftables.transactions import Nftables
from flowguard.kernel.nftables.watch import TableWatch
from flowguard.kernel.route.links import LinkWatch
from flowguard.paths import Paths
from flowguard.platform.configuration import loading
from flowguard.platform.configuration.loading import Configuration
from flowguard.platform.openwrt.firewall4 import Firewall4
from flowguard.platform.openwrt.ubus_presence import UbusPresence
from flowguard.platform.supervisor import Supervisor, attend
from flowguard.sensors.arms.looks import Observation
from flowguard.sensors.devices import Devices
from flowguard.sensors.firewall import STOPPED, Standby
from flowguard.sensors.kernel_log import KernelLog
from flowguard.sensors.listening import Listeners
from flowguard.sensors.polling import Polling
from flowguard.service.control import Call
from flowguard.service.control_server import ControlServer
from flowguard.service.kept_evidence import EvidenceFile
from flowguard.service.recorder import EventRecorder
from flowguard.service.tasks import Tasks

log = logging.getLogger(__name__)


class Service:
    """Owns the state, the kernel's tables and the sensors for the life of the daemon."""

    def __init__(self, paths: Paths, loaded: loading.Loaded, fault_rules: FaultRules) -> None:
        self.paths = paths
        self.configuration: Configuration = loaded.configuration
        self._problems: tuple[str, ...] = (*map(str, loaded.problems), *fault_rules.left_out)
        self.state = State()
        self.listeners = Listeners()
        self.boot_id = boot_id()
        self.stopping = False
        self.telling = Telling()
        self.supervisor: Supervisor | None = None
        self.ubus: UbusPresence | None = None
        self.opening: tuple[Event, ...] = ()
        self.ledger = IntentLedger(StateStore(paths.state_directory, self.boot_id), fault_rules)
        self._recorder = EventRecorder(paths.runtime_directory)
        self._kernel_log = KernelLog(fault_rules, paths.runtime_directory, self._on_fault)
        self._evidence = EvidenceFile(paths.runtime_directory)
        self._nftables = Nftables()
        self._converger = Converger(
            self._nftables,
            paths.runtime_directory,
            self.feed,
            flow_timeout=self.configuration.flow_timeout,
        )
        self.convergence = Convergence(self._converger, self.feed)
        self.devices = Devices(self._nftables, self.feed, self._may_try)
        self.polling = Polling(
            self.feed,
            lambda: self.convergence.plan,
            lambda: self.state.epoch,
            lambda: self.configuration.min_packets,
        )
        self.standby = Standby(self._nftables, Firewall4())
        self.observation = Observation(self.feed, self.configuration.offload_settings)
        self._crossover = Crossover(
            self.feed, lambda: self.state.trial is not None, self._takes_none
        )
        self._asked = Converge(())
        self._tasks = Tasks()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with configuration, memory and surroundings, a line each."""
        return (*self._problems, *self.standby.competitors)

    def report(self, problem: str) -> None:
        """Have one more problem shown in the status."""
        self._problems += (problem,)

    # --- events and commands ------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """One event through the policy; its commands are carried out or started."""
        self._recorder.record(event, self.state)
        if isinstance(event, Converged):
            self.observation.begin(self._asked)
        self.state, commands = decide(self.state, event)
        self._save(commands)
        for command in commands:
            self._execute(command)
        self._arm_timer()

    def _save(self, commands: list[Command]) -> None:
        """Write first what must survive the commands; the policy hears when that failed."""
        if Save() not in commands:
            return
        trouble = self.ledger.save(self.configuration.wanted, self.state)
        if trouble:
            self.feed(LedgerFailed(monotonic(), trouble))
        elif self.state.ledger.error:
            self.feed(LedgerKept(monotonic()))

    def _execute(self, command: Command) -> None:
        match command:
            case Converge():
                self._converge(command)
            case Try():
                self._tasks.spawn(self._rescan())
            case Rescue(seconds):
                stalled = [s.flow for s in self.observation.stalled()]
                self._tasks.spawn(self._crossover.run(stalled, seconds))
            case Save():
                pass  # Done already, before everything else.
            case Notify():
                self.telling.notify(command)
            case Decided(decision):
                self.telling.decided(decision)

    def _arm_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        deadline = self.state.next_deadline()
        if deadline is not None and not self.stopping:
            wait = max(0.0, deadline - monotonic()) + 0.001
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait, lambda: self.feed(Tick(monotonic())))

    def _converge(self, command: Converge) -> None:
        if command.epoch != self.state.epoch:
            return  # Superseded while it waited for the state to be saved.
        self._asked = command
        settings = self.configuration.offload_settings
        levels = dict(command.levels)
        self.convergence.start(plan(self.state.devices, levels, settings, command.draw))

    def _takes_none(self) -> bool:
        """Whether a step down has come so far that no flow can go back up."""
        drain = self.state.drain
        return self.state.converged or (drain is not None and drain.flows is not None)

    async def release(self) -> tuple[FlowTuple, ...]:
        """Drain, remove everything from the kernel and stop; returns what would not leave."""
        self.stopping = True
        left = await self.convergence.release()
        if not left:
            self.feed(PlannedEnd(monotonic()))
        self.stop()
        return left

    # --- sensors ------------------------------------------------------------------------

    def _may_try(self, device: Device) -> bool:
        """A trial is a use of the driver, for which the policy has to be armed."""
        return device.name in {d.name for d in self.state.untried}

    def look_for_devices(self) -> None:
        """Look at the links again, and at what netifd says; in the background."""
        self._tasks.spawn(self._rescan())

    async def _rescan(self) -> None:
        await self.devices.rescan(self.configuration.device, self.standby.reason)

    async def _tables_touched(self) -> None:
        """Somebody took tables of ours away, or has come or gone with a flowtable of his own."""
        lost = not await self.convergence.intact()
        if await self.standby.look(lost):
            await self._rescan()
            if self.standby.reason == STOPPED:
                await self.standby.firewall_started()
                await self._tables_touched()
        elif lost and not self.standby.reason:
            self.feed(TablesLost(monotonic()))

    def _save_progress(self) -> None:
        """So that a daemon that starts after this one goes on where it ended."""
        self._kernel_log.save_position()
        self._evidence.save(self.state)

    def _on_fault(self, fault: Fault) -> None:
        self.telling.fault_seen(fault)
        self.feed(FaultSeen(monotonic(), fault))

    def _start_sensors(self) -> None:
        def tables_touched() -> None:
            self._tasks.spawn(self._tables_touched())

        self.listeners.start("links", lambda: LinkWatch(self.look_for_devices))
        self.listeners.start("tables", lambda: TableWatch(self._nftables.port, tables_touched))
        self.listeners.start("kmsg", self._kernel_log.listen)
        self.listeners.start("ended flows", self.observation.listen)
        self._tasks.spawn(self.polling.run(self._save_progress))
        self._tasks.spawn(self.observation.run())

    # --- life ---------------------------------------------------------------------------

    async def run(self, call: Call) -> None:
        """Serve until told to stop, `call` answering what is asked of the control socket.

        The tables stay unless they were released.
        """
        for problem in self._problems:
            log.warning("%s", problem)
        self._converger.recover()
        for event in (*self.ledger.begin(self.configuration, self._evidence.load()), *self.opening):
            self.feed(event)
        if self.ledger.health != "ok":
            self.report(self.ledger.health)
        if self.configuration.clear_crash_dumps:
            self.ledger.clear_dumps()
        if self.ubus:
            self.ubus.look()
        await self.standby.look(tables_lost=False)
        await self._rescan()
        self._start_sensors()
        self.standby.look_for_competitors()
        control = ControlServer(self.paths.socket, call)
        await control.start()
        if self.ubus:
            self._tasks.spawn(self.ubus.run())
        self._tasks.spawn(self.telling.hook.run())
        if self.supervisor:
            self._tasks.spawn(attend(self.supervisor, self._supervised))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._tasks.spawn(self.reload()))
        loop.add_signal_handler(signal.SIGUSR1, lambda: self._tasks.spawn(self._look_again()))
        await self._ended.wait()
        control.close()
        await self._close()

    def _supervised(self, health: str) -> None:
        self.listeners.health["supervisor"] = health

    async def _look_again(self) -> None:
        await self._rescan()
        self.standby.look_for_competitors()

    async def reload(self) -> None:
        """Read the configuration again; only what changed is converged.

        A file that cannot be read changes nothing: half an edit must not cost the speed.
        """
        loaded = loading.load(self.paths.configuration)
        self._problems = tuple(map(str, loaded.problems))
        if loaded.readable and (loaded.configuration.rules or self.configuration.rules):
            fault_rules = rules.load_usable(loaded.configuration.rules)
            self._problems += fault_rules.left_out
            self._kernel_log.use(fault_rules)
        for problem in self._problems:
            log.warning("%s", problem)
        self.standby.look_for_competitors()
        if not loaded.readable:
            log.error("the configuration stays as it was")
            return
        former, self.configuration = self.configuration, loaded.configuration
        new = self.configuration
        logging.getLogger().setLevel(new.log_level.upper())
        self._converger.flow_timeout = new.flow_timeout
        # What somebody asked for at run time holds until the configuration wants another level.
        same = (new.enabled, new.level) == (former.enabled, former.level)
        wanted = self.state.wanted if same else new.wanted
        self.feed(Configured(monotonic(), wanted, new.policy_settings))
        if new.clear_crash_dumps:
            self.ledger.clear_dumps()
        self.devices.forget()
        await self._rescan()
        if new.offload_settings != former.offload_settings:
            self.observation.configure(new.offload_settings)
            self._converge(Converge(self.state.levels, self.state.draw, self.state.epoch))

    def stop(self) -> None:
        self.stopping = True
        self._ended.set()

    async def _close(self) -> None:
        self.listeners.close()
        if self._timer:
            self._timer.cancel()
        await self._tasks.close()
        await self.convergence.close()
        self._recorder.close()
        self._evidence.save(self.state, now=True)
        self.observation.close()
        self._nftables.close()
