# SPDX-License-Identifier: GPL-2.0-or-later
"""Leaves hardware without the service: for a daemon that cannot stay up, or may not start."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing

from flowguard.actuators.approach import ConvergeError, Converger
from flowguard.core.model import Level
from flowguard.core.tables.plan import plan
from flowguard.kernel.nftables import ruleset
from flowguard.kernel.nftables.transactions import Nftables
from flowguard.kernel.route.links import scan
from flowguard.platform.configuration.loading import Configuration

log = logging.getLogger(__name__)

SOFTWARE_SECONDS = 60.0
"""Less than a supervisor waits for the first sign of life, of which there is none until then."""


def to_software(configuration: Configuration, runtime_directory: str) -> None:
    """Drain hardware and leave the software level behind; what goes wrong is logged."""
    try:
        with closing(Nftables()) as nftables:
            asyncio.run(_to_software(nftables, configuration, runtime_directory))
    except (OSError, ConvergeError, TimeoutError) as error:
        log.error("hardware could not be left: %s", error or "the drain does not end")


def to_nothing(runtime_directory: str) -> None:
    """Drain hardware and remove all tables; what goes wrong is logged."""
    try:
        for flow in release(runtime_directory):
            log.error("still in hardware: %s", flow)
    except (OSError, ConvergeError) as error:
        log.error("the tables could not be removed: %s", error)


def release(runtime_directory: str) -> list[str]:
    """Drain hardware and remove all tables; returns the flows that are still in hardware.

    Raises OSError and ConvergeError.
    """
    with closing(Nftables()) as nftables:
        converger = Converger(nftables, runtime_directory, lambda progress: None)
        return [str(flow) for flow in asyncio.run(converger.release())]


async def _to_software(
    nftables: Nftables, configuration: Configuration, runtime_directory: str
) -> None:
    converger = Converger(nftables, runtime_directory, lambda progress: None)
    converger.recover()
    hardware = ruleset.read(nftables).hardware
    if hardware is None:
        return
    log.warning("hardware is left, as nothing would guard it")
    # Those that are in it, whatever the configuration would choose now.
    devices = scan(hardware.devices).devices
    levels = {device.name: Level.SOFTWARE for device in devices}
    async with asyncio.timeout(SOFTWARE_SECONDS):
        await converger.converge(plan(devices, levels, configuration.offload_settings))
