# SPDX-License-Identifier: GPL-2.0-or-later
"""The network devices of a usual router: a switch behind an Ethernet engine, a bridge, a WAN."""

from __future__ import annotations

from flowguard.core.tables.topology import Kind
from tests.simulator.machine.netdevs import Netdev, Netdevs

DRIVER = "mtk_soc_eth"
BUS = "15100000.ethernet"
PORTS = ("lan1", "lan2", "wan")
WIFI = "phy0-ap0"


def port(name: str) -> Netdev:
    return Netdev(name, 0, Kind.PORT, lower=("eth0",), port=name[-1], tc_offload=None)


def build(netdevs: Netdevs) -> None:
    netdevs.add(Netdev("lo", 0, Kind.OTHER, takes_flows=False, tc_offload=None))
    netdevs.add(Netdev("eth0", 0, Kind.CONDUIT, DRIVER, BUS))
    for name in PORTS:
        netdevs.add(port(name))
    netdevs.by_name["wan"].addressed = True
    netdevs.by_name["wan"].networks = ("",)
    netdevs.add(Netdev(WIFI, 0, Kind.WIFI, takes_flows=False, tc_offload=None))
    netdevs.add(
        Netdev(
            "br-lan",
            0,
            Kind.BRIDGE,
            lower=("lan1", "lan2", WIFI),
            takes_flows=False,
            tc_offload=None,
            addressed=True,
            networks=("192.168.1.", "2001:db8:1:"),
        )
    )
