# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes wrong outside the router: each impairment lasts as long as its block.

A host is impaired in its own namespace, so that the router sees nothing but packets that
do not come, as from a real network. All but `unplugged` work without the engine too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from tests.lab.hosts import Router
from tests.lab.namespace import Namespace


@contextmanager
def outage(host: Namespace) -> Iterator[None]:
    """Nothing gets to the host or from it; its link stays up."""
    with _host_rules(host, into="drop", out="drop"):
        yield


@contextmanager
def loss(host: Namespace, percent: int) -> Iterator[None]:
    """That share of all packets is lost, in each of the two directions."""
    drop = f"numgen random mod 100 < {percent} drop"
    with _host_rules(host, into=drop, out=drop):
        yield


@contextmanager
def silent_ends(host: Namespace) -> Iterator[None]:
    """No FIN and no RST leaves the host: who ends a connection there has just vanished."""
    with _host_rules(host, into="accept", out="tcp flags & (fin | rst) != 0 drop"):
        yield


@contextmanager
def unplugged(host: Namespace) -> Iterator[None]:
    """The cable is out at the host's end: both ends have no carrier."""
    host.ip("link set eth0 carrier off")
    try:
        yield
    finally:
        host.ip("link set eth0 carrier on")


@contextmanager
def flapping(host: Namespace, down: float = 1.0, up: float = 4.0) -> Iterator[None]:
    """The cable is out for `down` seconds, in for `up`, over and over."""
    stop = Event()

    def flap() -> None:
        while not stop.is_set():
            with unplugged(host):
                stop.wait(down)
            stop.wait(up)

    flapper = Thread(target=flap)
    flapper.start()
    try:
        yield
    finally:
        stop.set()
        flapper.join()


@contextmanager
def small_conntrack_table(router: Router, limit: int) -> Iterator[None]:
    """The router tracks at most `limit` connections and drops what would begin another."""
    before = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    router.namespace.sysctl({"net.netfilter.nf_conntrack_max": limit})
    try:
        yield
    finally:
        router.namespace.sysctl({"net.netfilter.nf_conntrack_max": before})


@contextmanager
def _host_rules(host: Namespace, into: str, out: str) -> Iterator[None]:
    """A rule for each direction between the host and its wire, loopback excepted."""
    host.run(
        "nft",
        "-f",
        "-",
        stdin=f"""
table inet impair {{
    chain input {{
        type filter hook input priority raw
        iif lo accept
        {into}
    }}
    chain output {{
        type filter hook output priority raw
        oif lo accept
        {out}
    }}
}}
""",
    )
    try:
        yield
    finally:
        host.run("nft", "delete table inet impair")
