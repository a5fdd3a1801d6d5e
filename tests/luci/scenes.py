# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be seen on the pages: each scene brings a home there, in real or in virtual time."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import Any

from flowguard.core.events import FaultSeen
from flowguard.core.model import Attribution, Fault, FaultClass, Level
from flowguard.kernel.nftables.changes import Change, CreateTable, TryFlowtable
from flowguard.kernel.nftables.names import FIREWALL_TABLE
from flowguard.kernel.nftables.ruleset import ForeignFlowtable, TablesState
from tests.actuators.router import LAN, WAN, refused
from tests.luci.rpcd import Rpcd
from tests.service.composed import Home
from tests.virtual_time import now

FLOWS = 40
INIT_SCRIPT = "/etc/init.d/flowguard"
ADOPTION_SECONDS = 2.0
FAULT = Fault(
    "netdev-watchdog",
    FaultClass.TX_TIMEOUT,
    Attribution.DRIVER,
    WAN,
    "labdriver",
    "NETDEV WATCHDOG: wan (labdriver): transmit queue 0 timed out 5000 ms",
)

Scene = Callable[[Home, Rpcd], Awaitable[None]]
FLOWGUARD: dict[str, Any] = {
    ".type": "flowguard",
    ".name": "globals",
    ".anonymous": False,
    ".index": 0,
}


def configured(router: Rpcd, enabled: str = "1", firewall: str = "0") -> None:
    """What UCI says, and procd of a daemon that runs."""
    router.options = {
        "flowguard": {"globals": {**FLOWGUARD, "enabled": enabled, "level": "hardware"}},
        "firewall": {"cfg01e63d": {".type": "defaults", "flow_offloading": firewall}},
    }
    router.services = {"flowguard": {"instances": {"main": {"running": True, "pid": 1234}}}}


async def steady(home: Home, router: Rpcd) -> None:
    configured(router)
    home.router.flows.offload(FLOWS)
    await home.until(lambda: home.service.state.level is Level.HARDWARE)
    await home.until(lambda: (flows := home.service.state.flows) and flows.hardware == FLOWS)


async def draining(home: Home, router: Rpcd) -> None:
    await steady(home, router)
    home.router.flows.leave_after = None
    home.service.feed(FaultSeen(now(), FAULT))
    await home.until(lambda: (drain := home.service.state.drain) and drain.flows)


async def held_off(home: Home, router: Rpcd) -> None:
    await steady(home, router)
    home.router.flows.leave_after = 0.0
    home.service.feed(FaultSeen(now(), FAULT))
    await home.until(lambda: home.status()["state"] == "held_off")


async def canary(home: Home, router: Rpcd) -> None:
    await held_off(home, router)
    await home.daemon.api.call("retry", {})
    await home.until(lambda: home.status()["state"] == "canary")


async def standing_by(home: Home, router: Rpcd) -> None:
    """The firewall offloads by itself, until a while after `service flowguard adopt`."""
    await steady(home, router)
    configured(router, firewall="1")
    home.router.ruleset.foreign = (ForeignFlowtable(FIREWALL_TABLE, True, (LAN, WAN)),)

    async def adopt() -> None:
        await asyncio.sleep(ADOPTION_SECONDS)
        home.router.ruleset.foreign = ()
        configured(router)
        home.router.ruleset.happens()

    async def init_script(words: list[str]) -> dict[str, Any]:
        assert words == ["adopt"]
        home.service.tasks.spawn(adopt())
        return {"code": 0}

    router.programs[INIT_SCRIPT] = init_script
    home.router.ruleset.happens()
    await home.until(lambda: home.status()["level"] == "none")


async def module_missing(home: Home, router: Rpcd) -> None:
    """A kernel without nft_flow_offload."""
    await steady(home, router)

    def refuse(change: Change) -> None:
        if isinstance(change, CreateTable | TryFlowtable):
            raise refused(change, errno.ENOENT)

    home.router.ruleset.refuse = refuse
    home.router.ruleset.state = TablesState(None, None)
    home.router.ruleset.happens()
    await home.until(lambda: home.status()["failure"])


async def not_enabled(home: Home, router: Rpcd) -> None:
    configured(router, enabled="0")
    router.services, router.bus = {}, None


async def not_started(home: Home, router: Rpcd) -> None:
    """`service flowguard start` brings it back."""
    configured(router)
    bus, router.bus, services = router.bus, None, router.services
    router.services = {}

    async def init_script(words: list[str]) -> dict[str, Any]:
        if words == ["start"]:
            router.bus, router.services = bus, services
        return {"code": 0}

    router.programs[INIT_SCRIPT] = init_script


async def crashed(home: Home, router: Rpcd) -> None:
    configured(router)
    router.bus = None
    router.services = {"flowguard": {"instances": {"main": {"running": False, "exit_code": 1}}}}


SCENES: dict[str, Scene] = {
    "steady": steady,
    "draining": draining,
    "held-off": held_off,
    "canary": canary,
    "standing-by": standing_by,
    "module-missing": module_missing,
    "not-enabled": not_enabled,
    "not-started": not_started,
    "crashed": crashed,
}
