# SPDX-License-Identifier: GPL-2.0-or-later
"""Leaves hardware without the service: for a daemon that cannot stay up, or may not start."""

from __future__ import annotations

import asyncio
import logging

from flowguard.actuators.approach import ConvergeError, Converger
from flowguard.actuators.first_look import UnreadEngines
from flowguard.actuators.state_file import StateStore
from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.tables.plan import plan
from flowguard.kernel.machine import Machine
from flowguard.kernel.nftables.ordered import OrderedTables
from flowguard.paths import Paths
from flowguard.platform.configuration.loading import Configuration
from flowguard.service.known_kernel import known

log = logging.getLogger(__name__)

SOFTWARE_SECONDS = 60.0
"""Less than a supervisor waits for the first sign of life, of which there is none until then."""


def to_software(machine: Machine, configuration: Configuration, paths: Paths) -> None:
    """Drain hardware and leave the software level behind, where that is of any use.

    What goes wrong is logged.
    """
    try:
        asyncio.run(drain_to_software(machine, configuration, paths))
    except (OSError, ConvergeError, TimeoutError) as error:
        log.error("hardware could not be left: %s", error or "the drain does not end")


def to_nothing(machine: Machine, paths: Paths) -> None:
    """Drain hardware and remove all tables; what goes wrong is logged."""
    try:
        for flow in asyncio.run(release(machine, paths)):
            log.error("still in hardware: %s", flow)
    except (OSError, ConvergeError) as error:
        log.error("the tables could not be removed: %s", error)


async def release(machine: Machine, paths: Paths) -> list[str]:
    """Drain hardware and remove all tables; returns the flows that are still in hardware.

    Raises OSError and ConvergeError.
    """
    left = await _converger(machine, paths).release()
    await _disarm(machine, paths)
    return [str(flow) for flow in left]


async def drain_to_software(machine: Machine, configuration: Configuration, paths: Paths) -> bool:
    """Returns whether there was a hardware table of ours.

    Raises OSError, ConvergeError, and TimeoutError after SOFTWARE_SECONDS.
    """
    converger = _converger(machine, paths)
    converger.recover()
    hardware = (await machine.tables.read()).hardware
    if hardware is None:
        return False
    log.warning("hardware is left, as nothing would guard it")
    # Those that are in it, whatever the configuration would choose now.
    devices = (await machine.network.scan(hardware.devices, {})).devices
    levels = {device.name: Level.SOFTWARE for device in devices}
    settings = replace(configuration.offload_settings, software=not known(machine).software_drops)
    async with asyncio.timeout(SOFTWARE_SECONDS):
        await converger.converge(plan(devices, levels, settings))
    await _disarm(machine, paths)
    return True


def _converger(machine: Machine, paths: Paths) -> Converger:
    tables = OrderedTables(machine.tables, machine.clock.now)
    store = StateStore(machine.files, paths.state_directory, machine.clock.boot_id)
    if store.is_eye_shut(machine.release):
        machine = replace(machine, engines=UnreadEngines())
    return Converger(machine, tables, paths.runtime_directory, lambda progress: None)


async def _disarm(machine: Machine, paths: Paths) -> None:
    """A reboot after this is none that hardware is to blame for."""
    store = StateStore(machine.files, paths.state_directory, machine.clock.boot_id)
    try:
        await store.disarm()
    except OSError as error:
        log.error("the state cannot be saved: %s", error)
