# SPDX-License-Identifier: GPL-2.0-or-later
"""The router in a box: hosts in network namespaces around the ports of this machine.

    lan1 (192.168.1.2, 2001:db8:1::2) --- lan1 \\
                                                router --- wan --- wan (203.0.113.1,
    lan2 (192.168.2.2, 2001:db8:2::2) --- lan2 /                        2001:db8:ff::1)

IPv4 from the LANs is masqueraded, IPv6 is routed. From the WAN, host lan1 is reached
over IPv4 through a port forward and over IPv6 through a hole in the firewall.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.lab.kernel import LabError
from tests.lab.namespace import Namespace, run

# The servers on every host, and the router's port that is forwarded to lan1's.
SERVER_PORT = 7000
FORWARDED_PORT = 8000

# Device groups, because the firewall has to survive the renaming of a port.
LAN_GROUP = 1
WAN_GROUP = 2

MODULES = (
    "8021q",
    "bonding",
    "bridge",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_flow_offload",
    "nf_flow_table_inet",
    "nft_masq",
    "nft_nat",
    "nft_hash",
    "nft_numgen",
    "nft_reject_inet",
    "ppp_async",
    "pppoe",
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A port of the router, the host on its wire, and the addresses of both."""

    port: str
    group: int
    router4: str
    host4: str
    router6: str
    host6: str

    @property
    def wire(self) -> str:
        return f"{self.port}-wire"

    def host_address(self, family: int) -> str:
        return self.host6 if family == 6 else self.host4


LAN1 = Segment("lan1", LAN_GROUP, "192.168.1.1", "192.168.1.2", "2001:db8:1::1", "2001:db8:1::2")
LAN2 = Segment("lan2", LAN_GROUP, "192.168.2.1", "192.168.2.2", "2001:db8:2::1", "2001:db8:2::2")
WAN = Segment("wan", WAN_GROUP, "203.0.113.2", "203.0.113.1", "2001:db8:ff::2", "2001:db8:ff::1")
SEGMENTS = (LAN1, LAN2, WAN)

# What OpenWrt's sysctl files set, and no waiting for duplicate addresses.
ROUTER_SYSCTLS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv6.conf.all.keep_addr_on_down": 1,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.netfilter.nf_conntrack_acct": 1,
    "net.netfilter.nf_conntrack_checksum": 0,
    "net.netfilter.nf_conntrack_tcp_max_retrans": 5,
    "net.netfilter.nf_conntrack_tcp_timeout_established": 7440,
    "net.netfilter.nf_conntrack_udp_timeout": 60,
    "net.netfilter.nf_conntrack_udp_timeout_stream": 180,
}
HOST_SYSCTLS = {
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.accept_ra": 0,
}

# The shape of fw4's ruleset: replies pass, invalid drops, the WAN is let in where asked.
FIREWALL = f"""
table inet labfw
delete table inet labfw
table inet labfw {{
    chain input {{
        type filter hook input priority filter; policy drop
        iif lo accept
        ct state vmap {{ established : accept, related : accept, invalid : drop }}
        meta iifgroup {LAN_GROUP} accept
        meta l4proto {{ icmp, icmpv6 }} accept
        reject with icmpx type port-unreachable
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop
        ct state vmap {{ established : accept, related : accept, invalid : jump invalid }}
        meta iifgroup {LAN_GROUP} accept
        ct status dnat accept
        ip6 daddr {LAN1.host6} meta l4proto {{ tcp, udp }} th dport {SERVER_PORT} accept
        meta l4proto icmpv6 accept
        reject with icmpx type port-unreachable
    }}
    chain invalid {{
        counter drop
    }}
    chain dstnat {{
        type nat hook prerouting priority dstnat; policy accept
        meta iifgroup {WAN_GROUP} ip daddr {WAN.router4} meta l4proto {{ tcp, udp }} \\
            th dport {FORWARDED_PORT} dnat ip to {LAN1.host4}:{SERVER_PORT}
    }}
    chain srcnat {{
        type nat hook postrouting priority srcnat; policy accept
        meta nfproto ipv4 meta oifgroup {WAN_GROUP} masquerade
    }}
}}
"""


class Router:
    """The hosts, addresses, routes and firewall around a router whose ports exist.

    Use as a context manager, or call `set_up` (again, if need be) and `tear_down`.
    `prefix` distinguishes the hosts' namespaces when several routers share a machine.
    """

    def __init__(self, namespace: Namespace | None = None, prefix: str = "") -> None:
        self.namespace = namespace or Namespace()
        self.hosts = {s.port: Namespace(prefix + s.port) for s in SEGMENTS}

    def __enter__(self) -> Router:
        self.set_up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.tear_down()

    def set_up(self) -> None:
        """Build everything, taking down first what an earlier set-up left.

        Raises LabError when a port is missing or the kernel refuses a step.
        """
        self.tear_down()
        links = self.namespace.links()
        missing = [n for s in SEGMENTS for n in (s.port, s.wire) if n not in links]
        if missing:
            raise LabError(f"the router has no device {', '.join(missing)}")
        self.namespace.run("nft", "-f", "-", stdin=FIREWALL)
        self.namespace.sysctl(ROUTER_SYSCTLS)
        for segment in SEGMENTS:
            self._plug_in_host(segment)
            self.configure_port(segment)
            self.configure_host(segment)

    def tear_down(self) -> None:
        """Give the wires back and leave neither namespace, address nor rule behind."""
        links = self.namespace.links()
        for segment in SEGMENTS:
            host = self.hosts[segment.port]
            if host.exists():
                self._unplug_host(segment)
                host.delete()
            if segment.port in links:
                self.namespace.ip(
                    f"address flush dev {segment.port}",
                    f"link set {segment.port} down group default",
                )
        self.namespace.run("nft", "-f", "-", stdin="table inet labfw\ndelete table inet labfw\n")

    def configure_port(self, segment: Segment, port: str | None = None) -> None:
        """Address the router's side of a segment; again after the port was down or re-created.

        `port` is the device's present name, when it was renamed.
        """
        device = port or segment.port
        mac = self.hosts[segment.port].links()["eth0"]["address"]
        self.namespace.ip(
            f"link set {device} group {segment.group} up",
            f"address replace {segment.router4}/24 dev {device}",
            f"address replace {segment.router6}/64 dev {device} nodad",
            f"neighbour replace {segment.host4} lladdr {mac} dev {device} nud permanent",
            f"neighbour replace {segment.host6} lladdr {mac} dev {device} nud permanent",
        )

    def bring_up(self) -> None:
        """Configure again those ports that are down; LabError when one is gone."""
        links = self.namespace.links()
        for segment in SEGMENTS:
            if segment.port not in links:
                raise LabError(f"the router has no device {segment.port}")
            if "UP" not in links[segment.port]["flags"]:
                self.configure_port(segment)

    def _plug_in_host(self, segment: Segment) -> None:
        host = self.hosts[segment.port]
        host.create()
        host.sysctl(HOST_SYSCTLS)
        self.namespace.ip(f"link set {segment.wire} netns {host.name}")
        host.ip(f"link set {segment.wire} name eth0", "link set lo up", "link set eth0 up")

    def _unplug_host(self, segment: Segment) -> None:
        host = self.hosts[segment.port]
        if "eth0" in host.links():
            # A process is the only handle that an unnamed namespace always has.
            target = self.namespace.name or str(os.getpid())
            host.ip(
                "link set eth0 down",
                f"link set eth0 name {segment.wire}",
                f"link set {segment.wire} netns {target}",
            )

    def configure_host(self, segment: Segment, device: str = "eth0") -> None:
        """Address the host's side of a segment, on this device of the host's."""
        mac = self.namespace.links()[segment.port]["address"]
        routes = [f"route replace {_network6(lan)} via {segment.router6}" for lan in (LAN1, LAN2)]
        if segment.group == LAN_GROUP:
            routes = [f"route replace default via {a}" for a in (segment.router4, segment.router6)]
        self.hosts[segment.port].ip(
            f"address replace {segment.host4}/24 dev {device}",
            f"address replace {segment.host6}/64 dev {device} nodad",
            f"neighbour replace {segment.router4} lladdr {mac} dev {device} nud permanent",
            f"neighbour replace {segment.router6} lladdr {mac} dev {device} nud permanent",
            *routes,
        )


def load_modules() -> None:
    """Load the kernel modules that the router needs.

    Raises LabError naming every one that is missing.
    """
    try:
        run("modprobe", "-a", *MODULES)
    except LabError as error:
        raise LabError(f"this kernel lacks modules that the lab needs: {error}") from error


def load_engine(module: Path) -> None:
    """Load the simulated packet engine, whose ports are the router's.

    `module` is the .ko file; an engine that is loaded already is kept.
    """
    if not Path("/sys/module/labengine").exists():
        run("insmod", str(module))


def add_veth_ports(namespace: Namespace) -> None:
    """Make ports without an engine: the router forwards everything itself."""
    namespace.ip(*(f"link add {s.port} type veth peer name {s.wire}" for s in SEGMENTS))


def _network6(segment: Segment) -> str:
    return segment.router6.removesuffix("1") + "/64"
