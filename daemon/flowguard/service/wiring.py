# SPDX-License-Identifier: GPL-2.0-or-later
"""The service amid its surroundings: the control socket, ubus and who supervises it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from flowguard.core.faults import FaultRules
from flowguard.core.requests import HoldAsked
from flowguard.kernel.clock import monotonic
from flowguard.paths import Paths
from flowguard.platform import supervisor
from flowguard.platform.configuration.loading import Loaded
from flowguard.platform.openwrt.ubus_presence import UbusPresence
from flowguard.service.api import PUBLIC, Api
from flowguard.service.loop import Service
from flowguard.service.runs import WINDOW_SECONDS

if TYPE_CHECKING:  # Where there is no ubus, it costs no memory.
    from flowguard.platform.openwrt.ubus_object import UbusObject


def run(paths: Paths, loaded: Loaded, fault_rules: FaultRules, journal: str, deaths: int) -> None:
    """Serve until told to stop; `journal` is how the log does, for the status.

    After so many `deaths` hardware has to wait; with 0 it need not.
    """
    asyncio.run(_run(paths, loaded, fault_rules, journal, deaths))


async def _run(
    paths: Paths, loaded: Loaded, fault_rules: FaultRules, journal: str, deaths: int
) -> None:
    service = Service(paths, loaded, fault_rules)
    if journal:
        service.listeners.health["log"] = journal
    if deaths:
        reason = "as flowguard died too often"
        service.opening = (HoldAsked(monotonic(), WINDOW_SECONDS, reason, at_least=True),)
        service.report(
            f"flowguard died {deaths} times within an hour: hardware is not used for the next "
            "hour, or until `flowguard retry`"
        )
    api = Api(service)

    def found(ubus: UbusObject) -> None:
        service.telling.ubus = ubus
        service.devices.ubus = ubus.path
        ubus.follow("network.interface", service.look_for_devices)

    service.ubus = UbusPresence(paths.ubus, api.call, PUBLIC, found)
    service.supervisor = supervisor.find(os.environ, service.ubus.ask)
    await service.run(api.call)
