# SPDX-License-Identifier: GPL-2.0-or-later
"""One life of the daemon: the service amid its surroundings, and what is left if it cannot live."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowguard import retreat, rules
from flowguard.api import PUBLIC, Api
from flowguard.core.faults import FaultRules, RuleError
from flowguard.core.requests import HoldAsked
from flowguard.host import log, supervisor
from flowguard.host.clock import monotonic
from flowguard.host.configuration import Loaded
from flowguard.host.runs import WINDOW_SECONDS, Runs
from flowguard.host.ubus_presence import UbusPresence
from flowguard.service import Paths, Service

if TYPE_CHECKING:  # Where there is no ubus, it costs no memory.
    from flowguard.host.ubus import UbusObject

DEATHS_LIMIT = 5
"""So many deaths within an hour, and hardware is not left to a daemon that cannot stay up."""


def live(paths: Paths, loaded: Loaded, ubus_sockets: Sequence[str]) -> None:
    """Serve until told to stop; ubusd is at one of the sockets, comes later or is not there.

    Raises RuleError for a file of rules that cannot be used, OSError for what the system
    refuses. One that cannot be started leaves the software level behind, as does one that
    died too often.
    """
    journal = log.set_up(loaded.configuration.log_level)
    runs = Runs(paths.runtime_directory)
    deaths = runs.begin(monotonic())
    try:
        fault_rules = rules.load(loaded.configuration.rules)
    except RuleError:
        _leave_hardware(paths, loaded)
        raise
    if deaths >= DEATHS_LIMIT:
        _leave_hardware(paths, loaded)
    asyncio.run(_serve(paths, loaded, fault_rules, ubus_sockets, journal, deaths))
    runs.end()


def _leave_hardware(paths: Paths, loaded: Loaded) -> None:
    asyncio.run(retreat.to_software(loaded.configuration, paths.runtime_directory))


async def _serve(
    paths: Paths,
    loaded: Loaded,
    fault_rules: FaultRules,
    ubus_sockets: Sequence[str],
    journal: str,
    deaths: int,
) -> None:
    service = Service(paths, loaded, fault_rules)
    if journal:
        service.sensors["log"] = journal
    if deaths >= DEATHS_LIMIT:
        service.opening = (HoldAsked(monotonic(), WINDOW_SECONDS),)
        service.report(
            f"flowguard died {deaths} times within an hour: hardware is not used for the next "
            "hour, or until `flowguard retry`"
        )
    api = Api(service)

    def found(ubus: UbusObject) -> None:
        service.telling.ubus = ubus
        service.devices.ubus = ubus.path
        ubus.listen("network.interface", service.look_for_devices)

    service.ubus = UbusPresence(ubus_sockets, api.call, PUBLIC, found)
    service.supervisor = supervisor.find(os.environ, service.ubus.ask)
    await service.run(api.call)
