# SPDX-License-Identifier: GPL-2.0-or-later
"""What a daemon that cannot stay up leaves behind."""

from __future__ import annotations

import pytest

from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.tables.plan import plan
from flowguard.kernel.nftables.ruleset import TablesState, wanted_state
from flowguard.service.retreat import drain_to_software
from tests import virtual_time
from tests.actuators.router import LAN, WAN, Router
from tests.service.composed import CONFIGURED, PATHS


@pytest.mark.parametrize(("release", "software"), [("6.12.120", True), ("6.18.48", False)])
def test_hardware_is_left_for_software_or_for_nothing_where_that_drops_connections(
    release: str, software: bool
) -> None:
    router = Router()
    router.flash.texts["/etc/openwrt_release"] = "DISTRIB_ID='OpenWrt'"
    machine = replace(router.machine, release=release)
    devices = tuple(router.network.devices.values())
    levels = {LAN: Level.HARDWARE, WAN: Level.HARDWARE}
    settings = replace(CONFIGURED.offload_settings, software=software)
    router.ruleset.state = wanted_state(plan(devices, levels, settings))
    router.flows.offload(3)

    virtual_time.run(drain_to_software(machine, CONFIGURED, PATHS))
    assert router.hardware is None
    assert (router.software is not None) is software
    assert software or router.ruleset.state == TablesState(None, None)
