# SPDX-License-Identifier: GPL-2.0-or-later
"""One client, a router with two lines, and the same server at the end of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.capture import TrackedConnection, tracked_connections
from tests.lab.namespace import Namespace

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENT, ROUTER4, SERVER = "192.168.1.2", "192.168.1.1", "203.0.113.1"
SIZE, SECONDS, PORT = 100_000, 3.0, 8000
SERVE = f"""
import socket, threading
listening = socket.create_server(("{SERVER}", {PORT}), backlog=64)
def answer(one):
    with one:
        one.recv(100)
        one.sendall(bytes({SIZE}))
print("ready", flush=True)
while True:
    threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()
"""
FETCH = f"""
import json, socket, sys
got = []
for port in json.loads(sys.argv[1]):
    size = 0
    try:
        with socket.create_connection(
            ("{SERVER}", {PORT}), timeout={SECONDS}, source_address=("{CLIENT}", port)
        ) as one:
            one.sendall(b"get")
            while part := one.recv(65536):
                size += len(part)
    except OSError:
        pass
    got.append(size)
print(json.dumps(got))
"""


@dataclass
class Home:
    """The namespaces of one process; `wan` is the router's default way, `wanb` the second."""

    client: Namespace = field(default_factory=lambda: Namespace(f"fg{os.getpid()}client"))
    router: Namespace = field(default_factory=lambda: Namespace(f"fg{os.getpid()}router"))
    lines: dict[str, Namespace] = field(
        default_factory=lambda: {n: Namespace(f"fg{os.getpid()}{n}") for n in ("wan", "wanb")}
    )
    servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def build(self) -> None:
        for namespace in self._namespaces:
            namespace.delete()
            namespace.create()
        self._wire("lan", self.client, ROUTER4, f"{CLIENT}/24")
        self.client.ip(f"route add default via {ROUTER4}")
        for number, (device, line) in enumerate(self.lines.items(), 1):
            self._wire(device, line, f"10.{number}.0.1", f"10.{number}.0.2/24")
            line.ip(f"addr add {SERVER}/32 dev lo")
        self.router.ip(
            "route add default via 10.1.0.2",
            "route add default via 10.2.0.2 table 2",
            "route add 192.168.1.0/24 dev lan table 2",
        )
        off = {f"net.ipv4.conf.{name}.rp_filter": 0 for name in ("all", "lan", "wan", "wanb")}
        counting = {"net.netfilter.nf_conntrack_acct": 1}
        self.router.sysctl({"net.ipv4.ip_forward": 1, **off, **counting})
        for line in self.lines.values():
            serving = line.command(sys.executable, "-c", SERVE)
            server = subprocess.Popen(serving, stdout=subprocess.PIPE, text=True)
            self.servers.append(server)
            assert server.stdout and server.stdout.readline()

    def remove(self) -> None:
        for server in self.servers:
            server.kill()
            server.communicate()
        for namespace in self._namespaces:
            namespace.delete()

    def reset(self, ruleset: str, *routing: str) -> None:
        """These rules and these lines of `ip` alone; no connection is tracked any more."""
        self.router.run("nft", "-f", "-", stdin=f"flush ruleset\n{ruleset}")
        self.router.ip("rule flush", "rule add pref 32766 lookup main", *routing)
        self.router.run("conntrack", "-F")

    def draw(self, share: int = 2, seed: int = 1) -> None:
        """Load flowguard's rules."""
        python = ("env", f"PYTHONPATH={REPOSITORY}/daemon:{REPOSITORY}", sys.executable)
        program = (*python, "-m", "tests.home.rules", str(share), str(seed))
        self.router.run(*program, "lan", *self.lines)

    def download(self, ports: range) -> list[int]:
        """Bytes that came, for each connection from one of these ports, one after another."""
        shown = json.dumps(list(ports))
        got: list[int] = json.loads(self.client.run(sys.executable, "-c", FETCH, shown))
        return got

    def connections(self) -> list[TrackedConnection]:
        return [
            c
            for c in tracked_connections(self.router)
            if (c.original.source, c.original.destination_port) == (CLIENT, PORT)
        ]

    @property
    def _namespaces(self) -> tuple[Namespace, ...]:
        return (self.client, self.router, *self.lines.values())

    def _wire(self, device: str, other: Namespace, address: str, other_address: str) -> None:
        peer = f"peer name eth0 netns {other.name}"
        self.router.ip(
            f"link add {device} type veth {peer}",
            f"addr add {address}/24 dev {device}",
            f"link set {device} up",
        )
        other.ip(f"addr add {other_address} dev eth0", "link set eth0 up", "link set lo up")
