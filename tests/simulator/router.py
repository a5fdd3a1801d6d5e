# SPDX-License-Identifier: GPL-2.0-or-later
"""One router: its kernel, its platform, and the daemon's lives under a supervisor like procd."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from flowguard import rules
from flowguard.actuators.approach import ConvergeError
from flowguard.core.faults import FaultRules
from flowguard.core.records import mutable, replace
from flowguard.kernel.machine import Machine
from flowguard.paths import Paths
from flowguard.platform.configuration.loading import Configuration, Loaded
from flowguard.service import life, retreat, wiring
from flowguard.service.api import Api
from flowguard.service.loop import Service
from flowguard.service.running import Running
from flowguard.service.runs import Runs
from tests.simulator.machine.boundary import machine_for
from tests.simulator.machine.kernel import Kernel
from tests.simulator.platform import Platform
from tests.simulator.process import Process
from tests.simulator.world import World

PATHS = Paths("/etc/config/flowguard", "/etc/flowguard", "/var/run/flowguard/control.sock")
STATE = "/etc/flowguard/state.json"
RESPAWN_SECONDS = 5.0
START_SECONDS = 1.5
"""From the fork to the first line of ours: Python and its modules."""
TERM_SECONDS = 120.0
"""procd's patience from SIGTERM to SIGKILL."""
REBOOT_SECONDS = 20.0

log = logging.getLogger("simulator")


@mutable
class Life:
    """One run of the daemon; the parts are None until it has made them."""

    process: Process
    began: float
    service: Service | None = None
    running: Running | None = None
    api: Api | None = None
    told_to_end: str = ""

    @property
    def alive(self) -> bool:
        return self.process.alive


class Router:
    """`life` is the current or the last one. `is_wanted`: the supervisor keeps it running."""

    fault_rules: FaultRules | None = None

    def __init__(self, world: World, kernel: Kernel, configuration: Configuration) -> None:
        self.world = world
        self.kernel = kernel
        self.platform = Platform(world, kernel, configuration)
        self.life: Life | None = None
        self._stopping: Process | None = None
        self.is_wanted = False
        self.lives = 0
        self.is_off = False
        self.began: list[Callable[[], None]] = []
        self.ended: list[Callable[[Life], None]] = []
        self.booted: list[Callable[[], None]] = []
        self.failures: list[str] = []
        if Router.fault_rules is None:
            Router.fault_rules = rules.load()

    # --- the supervisor -------------------------------------------------------------------

    def start(self) -> None:
        """`service flowguard start`."""
        self.is_wanted = True
        self._spawn()

    def _spawn(self) -> None:
        """One instance at a time; procd starts nothing beside a running one."""
        if not self.is_wanted or self.is_off or (self.life and self.life.alive):
            return
        if self._stopping and self._stopping.alive:
            # It has the lock.
            self.world.after(RESPAWN_SECONDS, self._spawn)
            return
        self.lives += 1
        process = Process(self.world, f"flowguard {self.lives}")
        process.at_end.append(lambda: self._instance_ended(current))
        current = self.life = Life(process, self.world.now)
        self.world.tell("flowguard %d starts", self.lives)
        for hear in self.began:
            hear()
        process.start(lambda: self._live(current))

    def _instance_ended(self, ended: Life) -> None:
        process = ended.process
        how = "was killed" if process.dead else f"failed: {process.failure!r}"
        if not process.dead and process.failure is None:
            how = "ended"
        elif process.failure is not None:
            self.failures.append(how)
        self.world.tell("%s %s", process.name, how)
        for hear in self.ended:
            hear(ended)
        if self.is_wanted:
            self.world.after(RESPAWN_SECONDS, self._spawn)

    def stop(self) -> None:
        """`service flowguard stop`: SIGTERM, and SIGKILL when that takes too long."""
        self.is_wanted = False
        current = self.life
        if current and current.alive:
            current.told_to_end = "stop"
            if current.running:
                current.process.signal(signal.SIGTERM)
            self.world.after(TERM_SECONDS, current.process.kill)
        else:
            configuration = self.platform.last_read
            self._stopping = self.program(
                "stop",
                lambda machine: _logged(retreat.drain_to_software(machine, configuration, PATHS)),
            )

    def kill(self) -> None:
        if self.life and self.life.alive:
            self.world.tell("SIGKILL")
            self.life.process.kill()

    # --- a life of the daemon --------------------------------------------------------------

    async def _live(self, current: Life) -> None:
        """As `flowguard run` does, on this machine."""
        process = current.process
        await process.wait(START_SECONDS)
        machine = machine_for(process, self.kernel)
        loaded = self.platform.load_now()
        if not loaded.configuration.enabled:
            await self._stay_off(machine, loaded)
            return
        runs = Runs(machine.files, PATHS.runtime_directory)
        deaths = runs.begin(machine.clock.now())
        to_software = retreat.drain_to_software
        if deaths >= life.DEATHS_LIMIT:
            await _logged(to_software(machine, loaded.configuration, PATHS))
        if current.told_to_end == "stop":
            # Before it could listen to signals.
            await _logged(to_software(machine, loaded.configuration, PATHS))
        else:
            await self._serve(current, machine, loaded, deaths)
        runs.end()

    async def _serve(self, current: Life, machine: Machine, loaded: Loaded, deaths: int) -> None:
        assert Router.fault_rules
        surroundings = self.platform.surroundings(current.process)
        service = Service(machine, surroundings, PATHS, loaded, Router.fault_rules)
        died = deaths if deaths >= life.DEATHS_LIMIT else 0
        running = Running(service, (), wiring._opening(service, died))
        current.service, current.running = service, running
        current.api = Api(service, running)
        wiring._listen_to_signals(service, running)
        await running.run()

    async def _stay_off(self, machine: Machine, loaded: Loaded) -> None:
        if not machine.files.exists(f"{PATHS.runtime_directory}/kmsg"):
            return
        if loaded.readable:
            await _logged(retreat.release(machine, PATHS))
        else:
            await _logged(retreat.drain_to_software(machine, loaded.configuration, PATHS))

    # --- what people can do ------------------------------------------------------------------

    def ask(
        self, method: str, answered: Callable[[Any], None] | None = None, **params: Any
    ) -> bool:
        """Call the API as ubus or the control socket would; False when nobody listens.

        `answered` gets the result, or the exception.
        """
        current = self.life
        if not (current and current.alive and current.api):
            return False
        api, process = current.api, current.process

        async def call() -> None:
            try:
                result = await api.call(method, params)
            except Exception as error:
                result = error
            self.world.tell("answer to %s: %s", method, _short(result))
            if answered:
                self.world.after(0.0, lambda: answered(result))

        def begin() -> None:
            service = current.service
            assert service
            service.tasks.spawn(call())

        self.world.tell("somebody asks: %s %s", method, params or "")
        process.call(begin)
        return True

    def program(self, name: str, work: Callable[[Machine], Coroutine[Any, Any, Any]]) -> Process:
        """Another program of ours, as `flowguard stop --release` without a daemon."""
        process = Process(self.world, name)
        machine = machine_for(process, self.kernel)
        for hear in self.began:
            hear()
        process.start(lambda: work(machine))
        return process

    # --- the machine goes down ---------------------------------------------------------------

    def lose_power(self, seconds: float = 10.0) -> None:
        """And it comes back after a while."""
        self.world.tell("the power goes")
        self._go_down()
        self.kernel.disk.lose_power()
        self.world.after(seconds, self._boot)

    def reboot(self) -> None:
        """`reboot`: rc.d asks flowguard to end for that, then everything is killed."""
        self.world.tell("somebody reboots the router")
        self.is_wanted = False
        current = self.life
        if current and current.alive:
            current.told_to_end = "reboot"
            self.ask("stop", how="reboot")
        self.world.after(REBOOT_SECONDS, self._reboot_now)

    def _reboot_now(self) -> None:
        if not self.is_off:
            self._go_down()
            self.kernel.disk.shut_down()
            self.world.after(10.0, self._boot)

    def _go_down(self) -> None:
        self.is_off = True
        if self.life and self.life.alive:
            self.life.process.kill()
        for runner in list(self.world.runners):
            if isinstance(runner, Process):
                runner.kill()

    def _boot(self) -> None:
        self.is_off = False
        self.kernel.boot()
        self.platform.boot()
        self.world.tell("the router boots (%d)", self.kernel.boots)
        for hear in self.booted:
            hear()
        if self.platform.configuration.enabled:
            self.start()


async def _logged(work: Coroutine[Any, Any, Any]) -> None:
    """What goes wrong is in the log, as the program has it."""
    try:
        await work
    except (TimeoutError, OSError, ConvergeError) as error:
        log.error("could not be left: %s", error)


def _short(result: object) -> str:
    if isinstance(result, dict) and "level" in result:
        return f"level {result['level']}, {result['state']}, {result['reason']}"
    return repr(result)[:200]


def enabled(**changes: Any) -> Configuration:
    return replace(Configuration(), enabled=True, **changes)
