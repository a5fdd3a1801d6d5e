# SPDX-License-Identifier: GPL-2.0-or-later
"""Other ways to plug the router's ports together; each is undone at the end of its `with`.

The hosts, their addresses and the firewall stay what they are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from tests.lab.hosts import LAN1, LAN2, WAN, WAN_GROUP, Router, Segment
from tests.lab.programs import running
from tests.lab.wait import wait_for

Topology = Callable[[Router], AbstractContextManager[None]]

VLAN = 7
PPP = "pppoe-wan"
# Against what Debian's /etc/ppp/options asks for, and as little to negotiate as can be.
PPPD = ("noauth", "nodefaultroute", "noipv6", "noccp", "novj", "mtu 1492", "mru 1492")


@contextmanager
def bridge(router: Router) -> Iterator[None]:
    """Both LAN ports in one bridge, which has the addresses of both LANs."""
    ip = router.namespace.ip
    ip(f"link add br-lan address {_mac(router, LAN1)} type bridge", "link set br-lan up")
    for segment in (LAN1, LAN2):
        ip(f"address flush dev {segment.port}", f"link set {segment.port} master br-lan")
        router.configure_port(segment, "br-lan")
    try:
        yield
    finally:
        ip("link delete br-lan")
        _restore(router, LAN1, LAN2)


@contextmanager
def filtering_bridge(router: Router) -> Iterator[None]:
    """Each LAN port untagged in a VLAN of its own, routed through VLAN devices on the bridge."""
    ip = router.namespace.ip
    options = "type bridge vlan_filtering 1 vlan_default_pvid 0"
    ip(f"link add br-lan address {_mac(router, LAN1)} {options}", "link set br-lan up")
    for number, segment in ((10, LAN1), (20, LAN2)):
        vlan = f"br-lan.{number}"
        ip(f"address flush dev {segment.port}", f"link set {segment.port} master br-lan")
        router.namespace.run(*f"bridge vlan add dev br-lan vid {number} self".split())
        untagged = f"bridge vlan add dev {segment.port} vid {number} pvid untagged"
        router.namespace.run(*untagged.split())
        mac = _mac(router, segment)
        ip(f"link add link br-lan name {vlan} address {mac} type vlan id {number}")
        router.configure_port(segment, vlan)
    yield
    ip("link delete br-lan")
    _restore(router, LAN1, LAN2)


@contextmanager
def vlan(router: Router) -> Iterator[None]:
    """The WAN in a VLAN, on both ends of its wire."""
    host = router.hosts[WAN.port]
    router.namespace.ip(
        f"address flush dev {WAN.port}",
        f"link add link {WAN.port} name {WAN.port}.{VLAN} type vlan id {VLAN}",
    )
    host.ip(
        f"link add link eth0 name eth0.{VLAN} type vlan id {VLAN}",
        f"link set eth0.{VLAN} up",
        "address flush dev eth0",
    )
    router.configure_port(WAN, f"{WAN.port}.{VLAN}")
    router.configure_host(WAN, f"eth0.{VLAN}")
    yield
    router.namespace.ip(f"link delete {WAN.port}.{VLAN}")
    host.ip(f"link delete eth0.{VLAN}")
    _restore(router, WAN)
    router.configure_host(WAN)


@contextmanager
def bond(router: Router) -> Iterator[None]:
    """The first LAN port alone in a bond."""
    ip = router.namespace.ip
    ip(
        "link add bond0 type bond mode active-backup miimon 100",
        f"address flush dev {LAN1.port}",
        f"link set {LAN1.port} down",
        # It takes the address of its first device.
        f"link set {LAN1.port} master bond0",
    )
    router.configure_port(LAN1, "bond0")
    yield
    ip("link delete bond0")
    _restore(router, LAN1)


@contextmanager
def pppoe(router: Router) -> Iterator[None]:
    """The WAN dialled with PPPoE, the session in the kernel; IPv4 only."""
    with _dialled(router, ["plugin", "pppoe.so", f"nic-{WAN.port}"]):
        yield


@contextmanager
def pppoe_over_vlan(router: Router) -> Iterator[None]:
    """The same in a VLAN, as most lines with PPPoE want it."""
    near, far = f"{WAN.port}.{VLAN}", f"eth0.{VLAN}"
    with vlan(router), _dialled(router, ["plugin", "pppoe.so", f"nic-{near}"], near, far):
        yield


@contextmanager
def pppoe_in_a_program(router: Router) -> Iterator[None]:
    """The same with pppd and a program that does the PPPoE."""
    with _dialled(router, ["pty", f"pppoe -I {WAN.port} -T 80 -m 1412"]):
        yield


@contextmanager
def _dialled(
    router: Router, how: Sequence[str], near: str = WAN.port, far: str = "eth0"
) -> Iterator[None]:
    host = router.hosts[WAN.port]
    router.namespace.ip(f"address flush dev {near}")
    host.ip(f"address flush dev {far}")
    addresses = ["-L", WAN.host4, "-R", WAN.router4, "-N", "1"]
    words = [word for option in PPPD for word in option.split()]
    dial = router.namespace.command("pppd", *how, "ifname", PPP, "nodetach", *words)
    with ExitStack() as ends:
        ends.callback(router.configure_host, WAN)
        ends.callback(_restore, router, WAN)
        # The wires of the lab carry checksums that are not filled in; PPP at the far end of this
        # one would not know. Nobody fills them in for 7.3, whose flowtable sends past PPP.
        checksums = ("ethtool", "-K", WAN.port, "tx")
        router.namespace.run(*checksums, "off")
        ends.callback(router.namespace.run, *checksums, "on")
        options = ends.enter_context(tempfile.NamedTemporaryFile("w"))
        options.write("\n".join((*PPPD, "")))
        options.flush()
        serve = host.command("pppoe-server", "-F", "-I", far, "-O", options.name, *addresses)
        ends.enter_context(running(*serve))
        said = ends.enter_context(running(*dial))
        wait_for(lambda: _has_address(router, PPP), "the PPPoE session", 60, state=said)
        router.namespace.ip(f"link set {PPP} group {WAN_GROUP}")
        yield


def _has_address(router: Router, device: str) -> bool:
    shown = router.namespace.run("ip", "-brief", "-4", "address", "show")
    return any(line.startswith(f"{device} ") and WAN.router4 in line for line in shown.splitlines())


def _mac(router: Router, segment: Segment) -> str:
    return str(router.namespace.links()[segment.port]["address"])


def _restore(router: Router, *segments: Segment) -> None:
    for segment in segments:
        router.configure_port(segment)
