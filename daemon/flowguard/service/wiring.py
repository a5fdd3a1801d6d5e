# SPDX-License-Identifier: GPL-2.0-or-later
"""The service amid its surroundings: the machine, the control socket, ubus, its supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flowguard import rules
from flowguard.core.events import Event
from flowguard.core.faults import FaultRules
from flowguard.core.requests import HoldAsked
from flowguard.kernel.machine import Machine
from flowguard.paths import Paths
from flowguard.platform import early, supervisor
from flowguard.platform.configuration import loading
from flowguard.platform.configuration.loading import Loaded
from flowguard.platform.openwrt.firewall4 import Firewall4
from flowguard.platform.openwrt.ubus_presence import UbusPresence
from flowguard.platform.systemd import journal
from flowguard.sensors.supervise import Sensor
from flowguard.service.api import PUBLIC, Api
from flowguard.service.control_server import ControlServer
from flowguard.service.loop import Service
from flowguard.service.running import End, Running
from flowguard.service.runs import WINDOW_SECONDS
from flowguard.service.surroundings import Surroundings

if TYPE_CHECKING:  # Seldom asked for, or, where there is no ubus, never.
    from flowguard.checks.finding import Finding
    from flowguard.platform.openwrt.netifd import Interfaces
    from flowguard.platform.openwrt.ubus_object import UbusObject


async def serve(
    machine: Machine,
    paths: Paths,
    loaded: Loaded,
    fault_rules: FaultRules,
    log_health: str,
    deaths: int,
) -> None:
    """Until told to stop; `log_health` is how the log does, for the status.

    After so many `deaths` hardware has to wait; with 0 it need not.
    """
    netifd = _Netifd()
    service = Service(machine, _surroundings(machine, paths, netifd), paths, loaded, fault_rules)
    service.problems.found("configuration", map(str, loaded.problems))
    service.problems.found("rules", fault_rules.left_out)
    if log_health:
        service.other_health["log"] = lambda: log_health
    doors: list[ControlServer] = []
    late: list[Sensor] = []
    running = Running(service, doors, _opening(service, deaths), late)
    api = Api(service, running)
    doors.append(ControlServer(paths.socket, api.call))

    def found(ubus: UbusObject) -> None:
        service.telling.add("ubus events", ubus)
        netifd.socket = ubus.path
        ubus.follow("network.interface", service.look_for_devices)

    presence = UbusPresence(paths.ubus, api.call, PUBLIC, found)
    presence.look()
    service.other_health["ubus"] = lambda: presence.health
    service.supervision.start(presence)
    if attended := supervisor.find(os.environ, presence.ask):
        # Before that nothing is ready; a start that hangs must not look alive.
        late.append(supervisor.Attendance(attended))
    _listen_to_signals(service, running)
    await running.run()


class _Netifd:
    """Asked over ubus, once there is one; `socket` is where ubusd listens."""

    def __init__(self) -> None:
        self.socket: str | None = None

    async def interfaces(self) -> Interfaces | None:
        if not self.socket:
            return None
        from flowguard.platform.openwrt import netifd

        return await netifd.interfaces(self.socket)


def _surroundings(machine: Machine, paths: Paths, netifd: _Netifd) -> Surroundings:
    async def load_rules(files: Sequence[str]) -> FaultRules:
        return await asyncio.to_thread(rules.load_usable, files)

    async def load() -> Loaded:
        return await asyncio.to_thread(loading.load, paths.configuration)

    return Surroundings(
        load,
        load_rules,
        netifd.interfaces,
        Firewall4(),
        lambda: journal.previous_boot(machine.clock.boot_id),
        lambda: asyncio.to_thread(_look_for_neighbours),
        asyncio.to_thread,
    )


def _look_for_neighbours() -> list[Finding]:
    from flowguard.checks import neighbours

    return neighbours.look()


def _opening(service: Service, deaths: int) -> tuple[Event, ...]:
    """What the policy hears first, beside what is remembered."""
    if not deaths:
        return ()
    service.problems.found(
        "deaths",
        [
            f"flowguard died {deaths} times within an hour: hardware is not used for the next "
            "hour, or until `flowguard hold 0`"
        ],
    )
    reason = "as flowguard died too often"
    return (HoldAsked(service.now(), WINDOW_SECONDS, reason, at_least=True),)


def _listen_to_signals(service: Service, running: Running) -> None:
    """A second Ctrl-C waits for nothing any more; another SIGTERM is often sent unawares."""

    def on(number: signal.Signals, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().add_signal_handler(number, act)

    def end() -> None:
        # Also while another end is on its way, which may fail.
        service.tasks.spawn(running.end_anyway(End.DRAIN))

    def interrupt() -> None:
        if running.stopping:
            running.end_now()
        end()

    on(signal.SIGTERM, end)
    on(signal.SIGINT, interrupt)
    on(signal.SIGHUP, lambda: service.tasks.spawn(running.reload()))
    if early.heard(signal.SIGHUP):
        service.tasks.spawn(running.reload())
    on(signal.SIGUSR1, lambda: service.tasks.spawn(running.look_again()))
