# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices found in a sysfs tree built for the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.core.model import Device
from flowguard.core.tables.topology import Kind, Link
from flowguard.kernel.route.links import links, scan
from tests.kernel.route.sysfs import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A switch with two ports behind a conduit, a WAN port, Wi-Fi, a bridge and a VLAN."""
    made = Machine(tmp_path)
    made.add("lo", type_=772)
    made.add("eth0", driver="mtk_soc_eth", entries=("dsa",))
    made.add("lan1", driver="mt7530-mdio", kind="dsa", above=("eth0",))
    made.add("lan2", driver="mt7530-mdio", kind="dsa", above=("eth0",), up=False)
    made.add("eth1", driver="igc")
    made.add("phy0-ap0", driver="mt798x-wmac", entries=("phy80211",))
    made.add("br-lan", kind="bridge", above=("lan1", "lan2", "phy0-ap0"))
    made.add("br-lan.10", kind="vlan", above=("br-lan",))
    return made


def test_every_kind_of_link(machine: Machine) -> None:
    machine.add("bond0", kind="bond", above=("eth1",))
    machine.add("veth0")
    found = {link.name: link for link in links(str(machine.sys), str(machine.proc))}
    assert found == {
        link.name: link
        for link in (
            Link("lo", Kind.OTHER),
            Link("eth0", Kind.CONDUIT),
            Link("lan1", Kind.PORT, lower=("eth0",)),
            Link("lan2", Kind.PORT, up=False, lower=("eth0",)),
            Link("eth1", Kind.PORT),
            Link("phy0-ap0", Kind.WIFI),
            Link("br-lan", Kind.BRIDGE, lower=("lan1", "lan2", "phy0-ap0")),
            Link("br-lan.10", Kind.VLAN, lower=("br-lan",)),
            Link("bond0", Kind.BOND, lower=("eth1",)),
            Link("veth0", Kind.OTHER),
        )
    }


def test_switch_port(machine: Machine) -> None:
    assert machine.scan("lan1")["lan1"] == Device(
        name="lan1",
        ifindex=3,
        driver="mtk_soc_eth",
        lower=("eth0",),
        forward_names=("br-lan", "br-lan.10", "lan1"),
        bridges=("br-lan", "br-lan.10"),
        bridge_ports=("lan1",),
        beside=("lan2", "phy0-ap0"),
    )


def test_a_vlan_on_it_is_what_a_bridge_knows_the_device_by(machine: Machine) -> None:
    machine.add("eth1.20", kind="vlan", above=("eth1",))
    machine.add("eth1.7", kind="vlan", above=("eth1",))
    machine.add("phy1-ap0", entries=("phy80211",))
    machine.add("br-guest", kind="bridge", above=("eth1.20", "phy1-ap0"))
    device = machine.scan("eth1")["eth1"]
    assert device.forward_names == ("br-guest", "eth1", "eth1.20", "eth1.7")
    assert (device.bridges, device.bridge_ports) == (("br-guest",), ("eth1.20",))
    assert device.beside == ("phy1-ap0",)


def test_tunnels(machine: Machine) -> None:
    machine.add("wg0", type_=65534, kind="wireguard")
    machine.add("tun0", type_=65534)
    for number, name in enumerate(("ipip0", "dslite", "6in4", "gre0", "gre6")):
        machine.add(name, type_=(768, 769, 776, 778, 823)[number])
    found = {link.name: link.kind for link in links(str(machine.sys), str(machine.proc))}
    tunnels = {name for name, kind in found.items() if kind is Kind.TUNNEL}
    assert tunnels == {"wg0", "ipip0", "dslite", "6in4", "gre0", "gre6"}


def test_plain_port(machine: Machine) -> None:
    assert machine.scan("eth1")["eth1"] == Device(
        name="eth1", ifindex=5, driver="igc", forward_names=("eth1",)
    )


def test_names_are_taken_as_they_are(machine: Machine) -> None:
    found = scan(("lan2", "phy0-ap0", "gone", "lan2"), str(machine.sys), str(machine.proc))
    assert [device.name for device in found.devices] == ["lan2", "phy0-ap0"]
    assert found.missing == ("gone",)


def test_virtual_device_has_the_driver_below_it(machine: Machine) -> None:
    machine.add("eth1.7", kind="vlan", above=("eth1",))
    vlan = machine.scan("eth1.7")["eth1.7"]
    assert (vlan.driver, vlan.lower) == ("igc", ("eth1",))
    assert machine.scan("lo")["lo"].driver is None


def test_pppoe_is_above_its_ethernet_device(machine: Machine) -> None:
    machine.add("eth1.7", kind="vlan", above=("eth1",))
    machine.add("pppoe-wan", type_=512)
    assert "pppoe-wan" not in machine.scan("eth1")["eth1"].forward_names
    assert machine.link("pppoe-wan") == Link("pppoe-wan", Kind.PPP)
    machine.sessions("eth1.7")
    found = machine.scan("eth1", "lan1")
    assert found["eth1"].forward_names == ("eth1", "eth1.7", "pppoe-wan")
    assert "pppoe-wan" not in found["lan1"].forward_names
    assert machine.link("pppoe-wan") == Link("pppoe-wan", Kind.PPP, lower=("eth1.7",))


def test_who_knows_whose_session_it_is_tells_two_apart(machine: Machine) -> None:
    machine.add("pppoe-wan", type_=512)
    machine.add("pppoe-two", type_=512)
    machine.add("l2tp-vpn", type_=512)
    machine.sessions("eth1", "lan1")
    assert machine.link("pppoe-wan").lower == ("eth1", "lan1")
    carriers = {"pppoe-wan": "eth1", "pppoe-two": "lan1", "l2tp-vpn": "br-lan"}
    assert machine.link("pppoe-wan", carriers).lower == ("eth1",)
    assert machine.link("l2tp-vpn", carriers).lower == ()
    found = machine.scan("eth1", "lan1", carriers=carriers)
    assert found["eth1"].forward_names == ("eth1", "pppoe-wan")
    assert found["lan1"].forward_names == ("br-lan", "br-lan.10", "lan1", "pppoe-two")


def test_what_is_reached_twice_is_named_once(machine: Machine) -> None:
    machine.add("eth1.7", kind="vlan", above=("eth1",))
    machine.add("eth1.8", kind="vlan", above=("eth1",))
    machine.add("bond0", kind="bond", above=("eth1.7", "eth1.8"))
    assert machine.scan("bond0")["bond0"].lower == ("eth1.7", "eth1.8", "eth1")


def test_rings_do_not_trap_the_walk(machine: Machine) -> None:
    machine.add("a", driver="x")
    machine.add("b", above=("a",))
    net = machine.sys / "class" / "net"
    (net / "b" / "upper_a").symlink_to(net / "a")
    assert machine.scan("a")["a"].forward_names == ("a", "b")


def test_no_sysfs_no_devices(tmp_path: Path) -> None:
    found = scan(("wan",), str(tmp_path), str(tmp_path))
    assert found.devices == () and found.missing == ("wan",)


def test_ports_of_one_piece_of_hardware_are_told_apart_whatever_their_names_are(
    tmp_path: Path,
) -> None:
    made = Machine(tmp_path)
    net = made.sys / "class" / "net"
    for name, port in (("eth0", "mac@0"), ("eth1", "mac@1")):
        made.add(name, driver="mtk_soc_eth")
        (net / name / "of_node").symlink_to(f"/firmware/devicetree/base/soc/ethernet/{port}")
    made.add("sw1", driver="mt7530-mdio", kind="dsa", above=("eth0",))
    (net / "sw1" / "phys_port_name").write_text("p1\n")
    made.add("enp1s0", driver="igc")
    (net / "enp1s0" / "dev_port").write_text("0\n")
    made.add("eth0.2", kind="vlan", above=("eth0",))
    made.add("tun0")
    found = made.scan("eth0", "eth1", "sw1", "enp1s0", "eth0.2", "tun0")
    ports = {name: device.port for name, device in found.items()}
    assert ports == {
        "eth0": "mac@0",
        "eth1": "mac@1",
        "sw1": "p1",
        "enp1s0": "0",
        "eth0.2": "eth0.2",
        "tun0": "",
    }


def test_a_name_may_be_any_bytes(machine: Machine) -> None:
    machine.add("wan\udcff", driver="igc", kind="vlan", above=("eth1",))
    machine.add("ppp", type_=512)
    (machine.proc / "net" / "pppoe").write_bytes(b"Id Address Device\n2A 02:0:0:0:0:1 wan\xff\n")
    assert machine.link("wan\udcff") == Link("wan\udcff", Kind.VLAN, lower=("eth1",))
    assert machine.link("ppp").lower == ("wan\udcff",)
    assert machine.scan("eth1")["eth1"].forward_names == ("eth1", "ppp", "wan\udcff")


def test_what_is_no_folder_is_no_device(machine: Machine) -> None:
    (machine.sys / "class" / "net" / "bonding_masters").write_text("\n")
    assert "bonding_masters" not in {
        link.name for link in links(str(machine.sys), str(machine.proc))
    }
