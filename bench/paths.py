# SPDX-License-Identifier: GPL-2.0-or-later
"""Which path each kind of flow takes: no flowtable, firewall4's two, flowguard's two levels.

In one boot of the lab router, a home with a bridge: for TCP and UDP the share of packets on the
classic path (original direction, reply), the bits that conntrack shows, and the packets in a
hundred that the engine forwarded. The engine's count runs ahead of connection tracking's, so that
figure can pass 100. Transfers have a fixed rate, so nothing is said of speed: one processor that
also is every host would tell little of it.

firewall4's list for hardware holds access points, which a kernel without OpenWrt's patches
refuses; firewall4 then takes its list for software, and so does this.

Run: python -m bench.paths [--rounds 1]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.lab import run_on_uml
from tests.lab import topologies
from tests.lab.capture import Engine, flowtable, load_ruleset, tracked_connections
from tests.lab.daemon import PORTS, Daemon
from tests.lab.hosts import SERVER_PORT, Router, load_engine, load_modules
from tests.lab.kernel import LabError
from tests.lab.namespace import run
from tests.lab.paths import classic, counted, tracked, tunnel
from tests.lab.shares import at_level
from tests.lab.topologies import VLAN
from tests.lab.traffic import Datagrams, Downloads, Pattern, Uploads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wifi import ACCESS_POINTS, bridge_with_access_points

# Before it is measured, every flow has had its chance.
SETTLE_SECONDS = 3.0
MEASURE_SECONDS = 4.0
RATE = 100_000  # bytes a second
TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Home:
    """A kind of flow: how the router is plugged together, and firewall4's lists of devices."""

    plugged: Callable[[Router], AbstractContextManager[None]]
    software: tuple[str, ...] = ("br-lan", "wan")
    hardware: tuple[str, ...] = PORTS
    host: str = "lan1"
    family: int = 4


@dataclass(frozen=True, slots=True)
class Row:
    """Shares of packets, from 0 to 1."""

    original: float
    reply: float
    bits: str
    engine: float

    @property
    def classic(self) -> float:
        return max(self.original, self.reply)


@contextmanager
def _station(router: Router) -> Iterator[None]:
    with bridge_with_access_points(router) as station:
        station.move(ACCESS_POINTS[0])
        yield


def _tunnel(kind: str) -> Callable[[Router], AbstractContextManager[None]]:
    @contextmanager
    def plugged(router: Router) -> Iterator[None]:
        with topologies.bridge(router), tunnel(router, kind):
            yield

    return plugged


@contextmanager
def _pppoe(router: Router) -> Iterator[None]:
    with topologies.bridge(router), topologies.pppoe_over_vlan(router):
        yield


HOMES: Mapping[str, Home] = {
    "LAN": Home(topologies.bridge),
    "LAN, IPv6": Home(topologies.bridge, family=6),
    "Wi-Fi": Home(_station, hardware=(*PORTS, *ACCESS_POINTS), host="lan2"),
    "WireGuard": Home(_tunnel("wireguard")),
    "6in4": Home(_tunnel("sit"), family=6),
    "GRE": Home(_tunnel("gre")),
    "4 in 4": Home(_tunnel("ipip")),
    "DS-Lite": Home(_tunnel("ip6tnl")),
    "PPPoE, VLAN": Home(_pppoe, software=("br-lan", f"wan.{VLAN}")),
}


@contextmanager
def _nothing(home: Home) -> Iterator[None]:
    yield


@contextmanager
def _firewall4_software(home: Home) -> Iterator[None]:
    load_ruleset(flowtable(home.software, hardware=False))
    yield
    run("nft", "delete", "table", "inet", "labft")


@contextmanager
def _firewall4_hardware(home: Home) -> Iterator[None]:
    try:
        load_ruleset(flowtable(home.hardware))
    except LabError:
        load_ruleset(flowtable(home.software, hardware=False))
    yield
    run("nft", "delete", "table", "inet", "labft")


def _flowguard(level: str) -> Callable[[Home], AbstractContextManager[None]]:
    @contextmanager
    def at(home: Home) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as folder:
            daemon = Daemon(Path(folder))
            at_level(daemon, level)
            yield
            daemon.stop("release")

    return at


PAIRS = {"flowguard software": "fw4 software", "flowguard hardware": "fw4 hardware"}
WAYS: Mapping[str, Callable[[Home], AbstractContextManager[None]]] = {
    "none": _nothing,
    "fw4 software": _firewall4_software,
    "flowguard software": _flowguard("software"),
    "fw4 hardware": _firewall4_hardware,
    "flowguard hardware": _flowguard("hardware"),
}


def patterns(home: Home) -> dict[str, tuple[Pattern, ...]]:
    ends = {"host": home.host, "family": home.family}
    return {
        "TCP": (Downloads(rate=RATE, **ends), Uploads(rate=RATE, **ends)),  # type: ignore[arg-type]
        "UDP": (Datagrams(count=4, per_second=50.0, **ends),),  # type: ignore[arg-type]
    }


def measure(batch: Batch, engine: Engine) -> Row:
    batch.wait_until_flowing()
    time.sleep(SETTLE_SECONDS)
    slow, all_packets = classic(), tracked()
    hits = engine.counter("hits")
    time.sleep(MEASURE_SECONDS)
    hits, slow = engine.counter("hits") - hits, classic().since(slow)
    all_packets = tracked().since(all_packets)
    return Row(
        original=slow.original / max(all_packets.original, 1),
        reply=slow.reply / max(all_packets.reply, 1),
        bits=_bits(),
        engine=hits / max(all_packets.original + all_packets.reply, 1),
    )


def _bits() -> str:
    shown = {
        flag
        for connection in tracked_connections()
        if connection.original.destination_port == SERVER_PORT
        for flag in connection.flags & {"OFFLOAD", "HW_OFFLOAD"}
    }
    return " ".join(sorted(shown)) or "-"


def forget(engine: Engine) -> None:
    run("conntrack", "-F")
    engine.flush()


def rows(router: Router, traffic: Traffic, engine: Engine, home: Home) -> dict[str, dict[str, Row]]:
    """By protocol and way."""
    found: dict[str, dict[str, Row]] = {}
    with home.plugged(router):
        for way, offloading in WAYS.items():
            for protocol, wanted in patterns(home).items():
                forget(engine)
                with ExitStack() as ends:
                    ends.enter_context(offloading(home))
                    ends.callback(traffic.clear)
                    ends.enter_context(counted())
                    row = measure(traffic.start(*wanted), engine)
                found.setdefault(protocol, {})[way] = row
    return found


def middle(several: list[Row]) -> Row:
    """Of several rounds: the median of each figure."""
    figures = {
        name: statistics.median(getattr(row, name) for row in several)
        for name in ("original", "reply", "engine")
    }
    return Row(bits=several[-1].bits, **figures)


def show(name: str, protocol: str, ways: Mapping[str, Row]) -> None:
    for way, row in ways.items():
        print(
            f"{name:<12} {protocol}  {way:<19} {row.original:6.1%} {row.reply:6.1%}  "
            f"{row.bits:<10} {row.engine:6.0%}",
            flush=True,
        )


def worse(name: str, protocol: str, ways: Mapping[str, Row]) -> list[str]:
    return [
        f"{name} {protocol}: {ours} leaves {ways[ours].classic:.1%} on the classic path, "
        f"{theirs} {ways[theirs].classic:.1%}"
        for ours, theirs in PAIRS.items()
        if ways[ours].classic > ways[theirs].classic + TOLERANCE
    ]


def inside(rounds: int) -> None:
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    engine, complaints = Engine(), list[str]()
    print("kind              way                 classic path   conntrack   engine")
    with Router() as router, Traffic(router) as traffic:
        for name, home in HOMES.items():
            found = [rows(router, traffic, engine, home) for _ in range(rounds)]
            for protocol in found[0]:
                ways = {way: middle([f[protocol][way] for f in found]) for way in WAYS}
                show(name, protocol, ways)
                complaints += worse(name, protocol, ways)
    print("\n".join(complaints) or "nowhere does flowguard leave more on the classic path")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.paths")
    parser.add_argument("--rounds", type=int, default=1)
    return run_on_uml(parser, lambda options: inside(options.rounds))


if __name__ == "__main__":
    sys.exit(main())
