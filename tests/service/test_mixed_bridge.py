# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts behind the ports of a mixed bridge, from the news to the kernel's set."""

from __future__ import annotations

import asyncio

from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.state import MOVES_MOST, SETTLED_SECONDS
from flowguard.core.tables.description import HARDWARE_PRIORITY, SOFTWARE_PRIORITY
from flowguard.kernel.conntrack import HW_OFFLOAD
from flowguard.kernel.nftables.changes import (
    AddHosts,
    CreateHostSets,
    CreateTable,
    DeleteTable,
    DropRules,
    RemoveDevices,
    RemoveHosts,
)
from flowguard.kernel.nftables.ruleset import TablesState, TableState
from flowguard.kernel.route.sightings import Learned, Neighbour
from tests.actuators.router import LAN, WAN, Router
from tests.service.composed import CONFIGURED, Home, at_home

PC, TV = "192.168.1.2", "192.168.1.3"
MAC, OTHER = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"


def mixed() -> Router:
    """The LAN port is in a bridge with an access point; the PC behind the one, the TV the other."""
    router = Router()
    lan = router.network.devices[LAN]
    router.network.devices[LAN] = replace(
        lan,
        forward_names=("br-lan", LAN),
        bridges=("br-lan",),
        bridge_ports=(LAN,),
        beside=("phy0-ap0",),
    )
    router.network.devices["br-lan"] = replace(lan, name="br-lan", ifindex=9)
    router.network.neighbourhood.present = [
        Neighbour("br-lan", PC, MAC),
        Learned("br-lan", MAC, LAN),
        Neighbour("br-lan", TV, OTHER),
        Learned("br-lan", OTHER, "phy0-ap0"),
    ]
    return router


def hosts(home: Home) -> tuple[str, ...] | None:
    found = home.router.ruleset.state.hardware
    return found.hosts if found else None


def in_hardware(home: Home) -> int:
    return sum(bool(entry.status & HW_OFFLOAD) for entry in home.router.flows.entries)


def test_the_first_table_knows_who_is_behind_its_ports() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        assert hosts(home) == (PC,)
        assert home.service.state.level is Level.HARDWARE
        # Never less, or its flows would begin in software.
        changes = [change for made in home.router.ruleset.made for change in made]
        created = [change.table for change in changes if isinstance(change, CreateTable)]
        assert [table.hosts for table in created if table.hardware] == [(PC,)]

    at_home(use, router=mixed())


def test_a_host_that_comes_is_let_in_and_its_flows_may_climb_from_software() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.network.neighbourhood.happens(Learned("br-lan", OTHER, LAN))
        await home.until(lambda: hosts(home) == (PC, TV))
        first, *others = home.router.ruleset.made[-1]
        assert first == AddHosts("flowguard", (TV,))
        assert [type(change) for change in others] == [DeleteTable, CreateTable]

    at_home(use, router=mixed())


def test_a_host_that_leaves_is_out_before_its_flows_are_pulled() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.flows.offload(3)
        home.router.ruleset.works.clear()  # The kernel takes its time.
        home.router.network.neighbourhood.happens(Learned("br-lan", MAC, "phy0-ap0"))
        await home.until(lambda: home.router.ruleset.begun[-1] != home.router.ruleset.made[-1])
        assert in_hardware(home) == 3
        home.router.ruleset.works.set()
        await home.until(lambda: not in_hardware(home))
        assert hosts(home) == ()
        assert home.router.ruleset.made[-1] == (RemoveHosts("flowguard", (PC,)),)

    at_home(use, router=mixed())


def test_a_station_that_leaves_an_access_point_in_hardware_is_pulled_out() -> None:
    """As with WED: the driver would go on sending to the access point that it was on."""
    router = mixed()
    lan = router.network.devices[LAN]
    router.network.devices[LAN] = replace(lan, bridge_ports=(LAN, "phy0-ap0"))
    router.network.devices["phy0-ap0"] = replace(
        router.network.devices[LAN],
        name="phy0-ap0",
        ifindex=10,
        forward_names=("br-lan", "phy0-ap0"),
        beside=(LAN,),
    )

    async def use(home: Home) -> None:
        await home.settled()
        held = home.router.ruleset.state.hardware
        assert held and "phy0-ap0" in held.devices
        for where in (LAN, "phy0-ap0", "phy1-ap0"):
            home.router.flows.offload(3)
            home.router.network.neighbourhood.happens(Learned("br-lan", MAC, where))
            await asyncio.sleep(1)
            assert in_hardware(home) == (3 if where == LAN else 0)

    taking_part = replace(CONFIGURED, device=(LAN, "phy0-ap0", WAN))
    at_home(use, router=router, configuration=taking_part)


def test_while_hardware_is_drained_nobody_waits_and_the_new_table_knows_all() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.router.flows.leave_after = None
        home.router.flows.offload(3)
        await home.daemon.api.call("level", {"level": "software"})
        await home.until(
            lambda: any(isinstance(c, DropRules) for c in home.router.ruleset.made[-1])
        )
        home.router.network.neighbourhood.happens(Learned("br-lan", MAC, "phy0-ap0"))
        await home.until(lambda: not in_hardware(home))
        await home.settled()
        await home.daemon.api.call("level", {"level": "hardware"})
        await home.until(lambda: hosts(home) == ())

    at_home(use, router=mixed())


def test_a_host_that_flaps_has_the_software_table_made_anew_a_few_times_only() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        for move in range(40):
            port = ("phy0-ap0", LAN)[move % 2]
            home.router.network.neighbourhood.happens(Learned("br-lan", MAC, port))
            await asyncio.sleep(2)
        changes = [change for made in home.router.ruleset.made for change in made]
        assert changes.count(DeleteTable("flowguard_sw")) <= MOVES_MOST
        assert hosts(home) == ()
        await asyncio.sleep(SETTLED_SECONDS)
        assert hosts(home) == (PC,)

    at_home(use, router=mixed())


def test_the_start_looks_at_the_hosts_once() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        assert home.router.network.neighbourhood.looks == 1

    at_home(use, router=mixed())


def test_the_next_daemon_finds_all_as_it_should_be() -> None:
    router = mixed()

    async def use(home: Home) -> None:
        await home.settled()

    at_home(use, router=router)
    made = len(router.ruleset.made)
    at_home(use, router=router)
    assert len(router.ruleset.made) == made


def test_tables_of_a_release_that_knew_no_hosts_are_changed_and_not_replaced() -> None:
    router = mixed()
    rules = ("flowguard 1", "flowguard 2")
    names = ("br-lan", LAN, WAN)
    router.ruleset.state = TablesState(
        TableState(HARDWARE_PRIORITY, True, (LAN, WAN), names, rules, hosts=None),
        TableState(SOFTWARE_PRIORITY, False, (LAN, WAN), names, rules),
    )

    async def use(home: Home) -> None:
        await home.settled()
        assert hosts(home) == (PC,)
        software = home.router.ruleset.state.software
        assert software and software.devices == ("br-lan", WAN)

    at_home(use, router=router)
    changes = [change for made in router.ruleset.made for change in made]
    # Flows in hardware stay there: neither is the table made anew nor a driver unbound.
    assert DeleteTable("flowguard") not in changes
    assert not any(isinstance(change, RemoveDevices) for change in changes)
    assert CreateHostSets("flowguard") in changes
