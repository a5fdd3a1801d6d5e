# SPDX-License-Identifier: GPL-2.0-or-later
"""Where each table takes flows: ports in hardware, bridges and tunnels themselves in software."""

from __future__ import annotations

from flowguard.core.model import Device, Host, Level
from flowguard.core.records import replace
from flowguard.core.tables.places import (
    Places,
    hardware_places,
    levels_by_device,
    software_places,
)


def port(name: str, *beside: str, above: tuple[str, ...] = ("br-lan",)) -> Device:
    """A port of br-lan, with what else is in that bridge."""
    names = tuple(sorted((name, *above)))
    return Device(name, 2, forward_names=names, bridges=above, bridge_ports=(name,), beside=beside)


LAN1, LAN2 = port("lan1", "lan2", "phy0-ap0"), port("lan2", "lan1", "phy0-ap0")
WAN = Device("wan", 4, forward_names=("pppoe-wan", "wan"))
WG = Device("wg0", 5, forward_names=("wg0",), hardware_capable=False)
ALL = (LAN1, LAN2, WAN, WG)
UP = {"lan1": Level.HARDWARE, "lan2": Level.HARDWARE, "wan": Level.HARDWARE, "wg0": Level.SOFTWARE}
HOSTS = (Host("192.168.1.2", "lan1"), Host("192.168.1.3", "lan2"), Host("2001:db8::5", "phy0-ap0"))


def hardware(**levels: Level) -> Places:
    found = hardware_places(ALL, UP | levels, HOSTS)
    assert found
    return found


def test_in_software_bridges_and_tunnels_take_part_themselves() -> None:
    assert software_places(ALL, UP) == Places(
        ("br-lan", "wan", "wg0"), ("br-lan", "pppoe-wan", "wan", "wg0")
    )


def test_where_flows_are_taken_by_port_bridges_take_no_part_themselves() -> None:
    lan1, lan2 = (replace(lan, by_port=True) for lan in (LAN1, LAN2))
    assert software_places((lan1, lan2, WAN), UP) == Places(
        ("lan1", "lan2", "wan"), ("br-lan", "lan1", "lan2", "pppoe-wan", "wan")
    )
    # One port that stands lower takes itself out, and nothing else.
    levels = {"lan1": Level.SOFTWARE, "wan": Level.SOFTWARE}
    found = software_places((lan1, lan2, WAN), levels)
    assert found and found.devices == ("lan1", "wan")
    in_hardware = hardware_places((lan1, lan2, WAN), UP, HOSTS, {"lan2"})
    assert in_hardware and in_hardware.hosts == ("192.168.1.2",)


def test_in_hardware_ports_take_part_and_tunnels_do_not() -> None:
    found = hardware()
    assert found.devices == ("lan1", "lan2", "wan")
    assert found.names == ("br-lan", "lan1", "lan2", "pppoe-wan", "wan")


def test_of_a_mixed_bridge_only_the_hosts_behind_hardware_count() -> None:
    assert (hardware().mixed, hardware().hosts) == (("br-lan",), ("192.168.1.2", "192.168.1.3"))
    stepped_down = hardware(lan2=Level.SOFTWARE)
    assert stepped_down.devices == ("lan1", "wan")
    assert (stepped_down.mixed, stepped_down.hosts) == (("br-lan",), ("192.168.1.2",))


def test_a_bridge_of_nothing_but_hardware_needs_no_hosts() -> None:
    whole = (replace(LAN1, beside=("lan2",)), replace(LAN2, beside=("lan1",)), WAN)
    found = hardware_places(whole, UP, HOSTS)
    assert found and (found.mixed, found.hosts) == ((), ())
    left = hardware_places(whole, {**UP, "lan2": Level.SOFTWARE}, HOSTS)
    assert left and (left.mixed, left.hosts) == (("br-lan",), ("192.168.1.2",))


def test_a_bridge_whose_only_port_is_excluded_has_no_host_in_hardware() -> None:
    found = hardware_places((port("lan1"), WAN), UP, HOSTS, {"lan1"})
    assert found and (found.mixed, found.hosts) == (("br-lan",), ())


def test_vlans_on_a_mixed_bridge_are_mixed_as_well() -> None:
    lan1 = port("lan1", "phy0-ap0", above=("br-lan", "br-lan.10"))
    found = hardware_places((lan1, WAN), UP, HOSTS)
    assert found and found.mixed == ("br-lan", "br-lan.10")


def test_a_bridge_stands_as_low_as_the_lowest_of_its_ports() -> None:
    levels = {"lan1": Level.SOFTWARE, "wan": Level.SOFTWARE}
    assert software_places((LAN1, LAN2, WAN), levels) == Places(("wan",), ("pppoe-wan", "wan"))
    assert software_places(ALL, {}) is None


def test_a_device_with_one_vlan_in_a_bridge_takes_part_by_each_of_its_vlans() -> None:
    names = ("br-lan", "eth0", "eth0.1", "eth0.2")
    eth0 = Device("eth0", 2, forward_names=names, bridges=("br-lan",), bridge_ports=("eth0.1",))
    assert software_places((eth0,), {"eth0": Level.SOFTWARE}) == Places(
        ("br-lan", "eth0.2"), ("br-lan", "eth0.2")
    )


def test_a_port_has_the_level_that_its_bridge_was_seen_to_have() -> None:
    held = (("br-lan", Level.SOFTWARE), ("wan", Level.HARDWARE), ("wg0", Level.SOFTWARE))
    assert dict(levels_by_device(ALL, held)) == {
        "lan1": Level.SOFTWARE,
        "lan2": Level.SOFTWARE,
        "wan": Level.HARDWARE,
        "wg0": Level.SOFTWARE,
    }
    with_lan1 = levels_by_device(ALL, (*held, ("lan1", Level.HARDWARE)))
    assert dict(with_lan1)["lan1"] is Level.HARDWARE
    # As a release had it that did not know of bridges, and before any device is known.
    assert levels_by_device(ALL, (("lan1", Level.SOFTWARE),)) == (("lan1", Level.SOFTWARE),)
    assert levels_by_device((), held) == held
    assert levels_by_device(ALL, levels_by_device(ALL, held)) == levels_by_device(ALL, held)
