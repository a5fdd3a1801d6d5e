# SPDX-License-Identifier: GPL-2.0-or-later
"""Access points and tunnels for the lab router, and which path packets take.

An access point is a veth in the bridge: a port that hardware does not have, as a radio is. What
a radio's own driver adds (802.11 encapsulation, association) is not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.lab import topologies
from tests.lab.capture import load_ruleset
from tests.lab.hosts import LAN1, LAN2, SERVER_PORT, WAN, WAN_GROUP, Router
from tests.lab.namespace import Namespace, run

ACCESS_POINT = "ap0"
COUNTER = """
table inet labcount {
    chain forward {
        type filter hook forward priority -300
        ct direction original counter
        ct direction reply counter
    }
}
"""
# What the tunnels themselves go through.
OUTER = {"router4": "198.51.100.2", "host4": "198.51.100.1"} | {
    "router6": "2001:db8:fe::2",
    "host6": "2001:db8:fe::1",
}


@dataclass(frozen=True, slots=True)
class Packets:
    """Of both directions of all connections to the servers."""

    original: int
    reply: int

    def since(self, before: Packets) -> Packets:
        return Packets(self.original - before.original, self.reply - before.reply)


@contextmanager
def counted() -> Iterator[None]:
    """While this lasts `classic` can tell."""
    load_ruleset(COUNTER)
    yield
    run("nft", "delete", "table", "inet", "labcount")


def classic() -> Packets:
    """The packets that took the classic path so far, as the forward hook saw them."""
    original, reply = re.findall(
        r"counter packets (\d+)", run("nft", "list", "table", "inet", "labcount")
    )
    return Packets(int(original), int(reply))


def tracked() -> Packets:
    """The packets of the connections that there are, whichever path they took."""
    original = reply = 0
    for family in ("ipv4", "ipv6"):
        for line in run("conntrack", "-L", "-f", family).splitlines():
            found = re.findall(r"packets=(\d+)", line)
            if f"dport={SERVER_PORT}" in line and len(found) == 2:
                original, reply = original + int(found[0]), reply + int(found[1])
    return Packets(original, reply)


class Roamer:
    """Host lan2 with a wire to port lan2 and a link to the access point, on one of them."""

    def __init__(self, router: Router) -> None:
        self._host = router.hosts[LAN2.port]

    def move(self, to: str) -> None:
        """To the port or the access point; it is what it was there, with the same addresses."""
        near = {LAN2.port: "eth0", ACCESS_POINT: "wlan0"}
        others = [f"link set {device} down" for name, device in near.items() if name != to]
        self._host.ip(*others, f"link set {near[to]} up")


@contextmanager
def bridge_with_access_point(router: Router) -> Iterator[Roamer]:
    """Both LAN ports and an access point in br-lan; host lan2 can be behind either of its own."""
    host = router.hosts[LAN2.port]
    mac = host.links()["eth0"]["address"]
    with topologies.bridge(router):
        router.namespace.ip(
            f"link add {ACCESS_POINT} type veth peer name wlan0 netns {host.name}",
            f"link set {ACCESS_POINT} master br-lan up",
        )
        host.ip(
            f"link add home address {mac} type bridge",
            "address flush dev eth0",
            "link set eth0 master home",
            "link set wlan0 master home",
            "link set home up",
        )
        router.configure_host(LAN2, "home")
        # The router's own address, by whichever port it is reached.
        own = router.namespace.links()["br-lan"]["address"]
        host.ip(
            *(
                f"neighbour replace {address} lladdr {own} dev home nud permanent"
                for address in (LAN2.router4, LAN2.router6)
            )
        )
        try:
            yield Roamer(router)
        finally:
            router.namespace.ip(f"link delete {ACCESS_POINT}")
            host.ip("link delete home", "link set eth0 up")
            router.configure_host(LAN2)


@contextmanager
def tunnel(router: Router, kind: str) -> Iterator[str]:
    """All that goes to the WAN host goes through a tunnel of this kind; its name."""
    near, far, name = router.namespace, router.hosts[WAN.port], f"{kind}-wan"
    with ExitStack() as ends:
        ends.callback(router.configure_host, WAN)
        for end, device, side in ((near, WAN.port, "router"), (far, "eth0", "host")):
            addresses = (f"{OUTER[f'{side}4']}/24", f"{OUTER[f'{side}6']}/64")
            end.ip(*(f"address add {address} dev {device} nodad" for address in addresses))
            ends.callback(end.ip, *(f"address delete {a} dev {device}" for a in addresses))
        # No first packet waits for an answer, or fails because there is none yet.
        _introduce(near, WAN.port, "host", far.links()["eth0"]["address"])
        _introduce(far, "eth0", "router", near.links()[WAN.port]["address"])
        _make(near, name, kind, "router", "host")
        ends.callback(near.ip, f"link delete {name}")
        _make(far, name, kind, "host", "router")
        ends.callback(far.ip, f"link delete {name}")
        if kind == "wireguard":
            _exchange_keys(near, far, name)
        near.ip(
            f"link set {name} group {WAN_GROUP} up",
            f"address add 10.9.0.2/30 dev {name}",
            f"address add 2001:db8:9::2/64 dev {name} nodad",
            f"route replace {WAN.host4}/32 dev {name}",
            f"route replace {WAN.host6}/128 dev {name}",
        )
        lans = (f"{lan.router6.removesuffix('1')}/64" for lan in (LAN1, LAN2))
        far.ip(
            f"link set {name} up",
            f"address add 10.9.0.1/30 dev {name}",
            f"address add 2001:db8:9::1/64 dev {name} nodad",
            # A server answers from the address that it was asked at.
            f"route replace 10.9.0.2/32 dev {name} src {WAN.host4}",
            *(f"route replace {lan} dev {name} src {WAN.host6}" for lan in lans),
        )
        yield name


def _introduce(namespace: Namespace, device: str, side: str, mac: str) -> None:
    namespace.ip(
        *(
            f"neighbour replace {OUTER[side + family]} lladdr {mac} dev {device} nud permanent"
            for family in "46"
        )
    )


def _make(namespace: Namespace, name: str, kind: str, own: str, other: str) -> None:
    family = "6" if kind == "ip6tnl" else "4"
    ends = f"local {OUTER[own + family]} remote {OUTER[other + family]}"
    options = {"wireguard": "", "ip6tnl": f"{ends} mode any encaplimit none"}.get(kind, ends)
    namespace.ip(f"link add {name} type {kind} {options}")


def _exchange_keys(near: Namespace, far: Namespace, name: str) -> None:
    keys = [run("wg", "genkey") for _ in range(2)]
    for end, key, other, endpoint in (
        (near, keys[0], keys[1], OUTER["host4"]),
        (far, keys[1], keys[0], OUTER["router4"]),
    ):
        public = run("wg", "pubkey", stdin=other).strip()
        words = f"listen-port 51820 private-key /dev/stdin peer {public} endpoint {endpoint}:51820"
        allowed = "allowed-ips 0.0.0.0/0,::/0"
        end.run("wg", "set", name, *words.split(), *allowed.split(), stdin=key)
