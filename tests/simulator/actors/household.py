# SPDX-License-Identifier: GPL-2.0-or-later
"""People behind the router: what they open, how often, and when they sleep."""

from __future__ import annotations

import math
from random import Random

from flowguard.core.model import FlowTuple
from flowguard.core.records import frozen
from flowguard.kernel.conntrack import Flow
from tests.simulator.actors.exchange import Exchange, Kind
from tests.simulator.machine.kernel import Kernel
from tests.simulator.world import World

DAY = 86400.0
PUBLIC = "203.0.113.5"

DNS = Kind("dns", "udp", (0.0, 0.0), (0.05, 0.2))
PAGE = Kind("page", "tcp", (15.0, 25.0), (0.5, 8.0))
DOWNLOAD = Kind("download", "tcp", (120.0, 300.0), (20.0, 400.0))
UPLOAD = Kind("upload", "tcp", (200.0, 90.0), (10.0, 200.0), downloads=False)
STREAM = Kind("stream", "tcp", (30.0, 90.0), (600.0, 5400.0), patience=(60.0, 300.0))
CALL = Kind("call", "udp", (50.0, 50.0), (60.0, 1800.0), patience=(10.0, 40.0))
CHAT = Kind("chat", "tcp", (0.0, 0.0), (600.0, 14400.0), pause=40.0)
GAME = Kind("game", "udp", (30.0, 30.0), (300.0, 5400.0), patience=(5.0, 20.0))

MIX = (
    (DNS, 30),
    (PAGE, 45),
    (DOWNLOAD, 4),
    (UPLOAD, 2),
    (STREAM, 1),
    (CALL, 2),
    (CHAT, 2),
    (GAME, 1),
)


@frozen
class Household:
    """`rate`: new connections a second when everybody is awake; `ports` are where people are,
    `uplink` the way out; `upper` is what the forward hook calls the inner side."""

    rate: float
    ports: tuple[str, ...] = ("lan1", "lan2", "phy0-ap0")
    upper: str = "br-lan"
    uplink: str = "wan"
    uplink_upper: str = "wan"
    ipv6_share: float = 0.3
    deaf_share: float = 0.02
    begins: float = 0.0


class Traffic:
    """Opens exchanges for ever; `line_up` False lets all that goes out vanish."""

    def __init__(self, world: World, kernel: Kernel, household: Household) -> None:
        self.line_up = True
        self.opened = 0
        self.live: list[Exchange] = []
        self._world = world
        self._kernel = kernel
        self._household = household
        self._luck: Random = world.random("household")
        self._kinds = [kind for kind, _ in MIX]
        self._weights = [weight for _, weight in MIX]
        self._next()

    def set_line(self, up: bool) -> None:
        if self.line_up != up:
            self.line_up = up
            self._world.tell("the line is %s", "up" if up else "down")
            for exchange in self._alive():
                exchange.set_line(up)

    def look_again(self) -> None:
        """Something about the ways changed."""
        for exchange in self._alive():
            exchange.moved()

    def _alive(self) -> list[Exchange]:
        self.live = [e for e in self.live if not e._is_dead()]
        return self.live

    def _next(self) -> None:
        household = self._household
        time_of_day = (self._world.now + household.begins) % DAY / DAY
        # Between a tenth in the small hours and all of it in the evening.
        activity = 0.55 - 0.45 * math.cos(2 * math.pi * (time_of_day - 0.17))
        wait = self._luck.expovariate(household.rate * activity)
        self._world.after(wait, self._open)

    def _open(self) -> None:
        self._next()
        household, luck = self._household, self._luck
        netdevs = self._kernel.netdevs.by_name
        kind = luck.choices(self._kinds, self._weights)[0]
        self.opened += 1
        flow = self._flow(kind)
        port = self._port_of(flow.original.source)
        if port not in netdevs or household.uplink not in netdevs:
            return
        exchange = Exchange(
            self._world,
            self._kernel,
            kind,
            flow,
            (household.upper, household.uplink_upper),
            (port, household.uplink),
            luck,
        )
        exchange.answers = luck.random() >= household.deaf_share
        if not self.line_up:
            exchange.set_line(False)
        self.live.append(exchange)
        if self.opened % 64 == 0:
            self._alive()

    def _port_of(self, address: str) -> str:
        """Where the host is; one that is new somewhere."""
        neighbourhood = self._kernel.neighbourhood
        port = neighbourhood.port_of(address) or self._luck.choice(self._household.ports)
        neighbourhood.see(address, port, self._world.now)
        return port

    def move(self, address: str, port: str) -> None:
        """A host is behind another port from now on, and sends a packet there."""
        self._kernel.neighbourhood.see(address, port, self._world.now)
        self.look_again()

    def _flow(self, kind: Kind) -> Flow:
        luck, protocol = self._luck, kind.protocol
        port, far_port = 20000 + self.opened % 40000, 53 if kind is DNS else 443
        if luck.random() < self._household.ipv6_share:
            near, far = (
                f"2001:db8:1::{luck.randrange(2, 30):x}",
                f"2001:db8:f::{luck.randrange(1, 999):x}",
            )
            there = FlowTuple(protocol, near, far, port, far_port)
            return Flow(there, FlowTuple(protocol, far, near, far_port, port))
        near, far = f"192.168.1.{luck.randrange(2, 30)}", f"198.51.100.{luck.randrange(1, 250)}"
        there = FlowTuple(protocol, near, far, port, far_port)
        return Flow(there, FlowTuple(protocol, far, PUBLIC, far_port, port))
