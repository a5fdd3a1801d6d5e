# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulated connections in virtual time: what conntrack would count for each, packet by packet.

A connection is written down when it is born: when its packets pass the router, with
retransmissions that back off while something eats them, and how it ends.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from bench.virtual import LAN1, LAN2, WAN
from flowguard.core.arms.draw import BUCKETS, PARTS
from flowguard.core.model import Family, FlowTuple, Protocol
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry, Flow
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.sensors.arms.census import ASSURED, SEEN_REPLY
from flowguard.sensors.arms.drawing import Drawing
from flowguard.sensors.arms.followed import ESTABLISHED, RESET_TIMEOUT, TIME_WAIT

ROUND_TRIP = 0.05  # seconds
RETRANSMIT = 0.3  # seconds until the first retransmission; doubles each time
ATTEMPTS = 9
TIME_WAIT_SECONDS = 120.0
IDLE_SECONDS = 300.0  # how long a quiet connection stays in the table
NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17}
PAIRS = ((LAN1, WAN), (LAN2, WAN))


class Side(Enum):
    """FAR: what the client sends gets lost behind the router. NEAR: what the server sends.
    GONE: as NEAR, and the client sends nothing either. RESET: the server answers by a reset.
    """

    FAR = "far"
    NEAR = "near"
    GONE = "gone"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What eats packets between two times; `loss` of the packets of `flows` of the flows."""

    side: Side
    begin: float = 0.0
    end: float = math.inf
    loss: float = 1.0
    flows: float = 1.0
    treated_only: bool = False
    family: Family | None = None
    protocol: Protocol | None = None
    pair: tuple[str, str] | None = None

    def hits(self, c: Connection, rng: random.Random) -> bool:
        return (
            (c.control is False or not self.treated_only)
            and self.family in (None, c.family)
            and self.protocol in (None, c.protocol)
            and self.pair in (None, c.pair)
            and rng.random() < self.flows
        )


class Connection:
    """Its packets as (time, (original, reply)), and when and how it ends."""

    __slots__ = (
        "bucket", "control", "counted", "ended", "family", "gone", "number", "packets", "pair",
        "passed", "protocol", "reset",
    )  # fmt: skip

    def __init__(self, number: int, rng: random.Random, control_share: float) -> None:
        self.number = number
        self.bucket = rng.randrange(BUCKETS)
        self.control = self.bucket < BUCKETS / control_share
        self.family = Family.IPV6 if rng.random() < 0.4 else Family.IPV4
        self.protocol = Protocol.UDP if rng.random() < 0.25 else Protocol.TCP
        self.pair = PAIRS[rng.random() < 0.33]
        self.packets: list[tuple[float, tuple[int, int]]] = []
        self.ended = math.inf
        self.reset = False
        self.gone = math.inf  # when it leaves the table
        self.passed = [0, 0]  # packets read, per direction
        self.counted = [0, 0]

    def entry(self, time: float, lags: tuple[float, float]) -> Entry:
        """As a dump shows it; the counters of each direction lag behind by some seconds."""
        for way in (0, 1):
            index, until = self.passed[way], time - lags[way]
            while index < len(self.packets) and self.packets[index][0] <= until:
                self.counted[way] += self.packets[index][1][way]
                index += 1
            self.passed[way] = index
        over = time >= self.ended
        status = SEEN_REPLY | ASSURED
        if not over:
            status |= OFFLOAD | (0 if self.control else HW_OFFLOAD)
        state, timeout = (ESTABLISHED, RESET_TIMEOUT) if self.reset else (TIME_WAIT, 100)
        shown = over and self.protocol is Protocol.TCP
        key, reply_key = KEYS[self.family, self.pair]
        original, reply = self.counted
        return Entry(
            self.number, status, self.bucket,
            NUMBERS[self.protocol], original, original * 100, reply, reply * 500, True,
            state if shown else None, timeout if shown else None, key, reply_key,
        )  # fmt: skip


class BucketInMark(Drawing):
    """Each connection's mark is its bucket, because they all have the same few addresses."""

    def __init__(self, control_share: float) -> None:
        super().__init__()
        self.limit = round(BUCKETS / control_share)

    def hash_of(self, entry: Entry) -> int:
        return entry.mark * PARTS + entry.id % PARTS


def _keys(family: Family, pair: tuple[str, str]) -> tuple[bytes, bytes]:
    net = PAIRS.index(pair)
    four = f"192.168.{net}.2", "203.0.113.1"
    client, server = four if family is Family.IPV4 else (f"fd00:{net}::2", "2001:db8::1")
    flows = [FlowTuple("tcp", client, server, 1, 2), FlowTuple("tcp", server, client, 2, 1)]
    first, second = (encode_tuple(kind, flow)[1][4:] for kind, flow in enumerate(flows, 1))
    return first, second


KEYS = {(family, pair): _keys(family, pair) for family in Family for pair in PAIRS}


def pair_of(flow: Flow) -> tuple[str, str]:
    return PAIRS[flow.original.source.startswith(("192.168.1.", "fd00:1:"))]


class Life:
    """Writes down one connection, from its birth to its end."""

    def __init__(self, c: Connection, rng: random.Random, troubles: list[Trouble]) -> None:
        self.c = c
        self.rng = rng
        self.troubles = [t for t in troubles if t.hits(c, rng)]

    def write(self, start: float, behaviour: str = "") -> bool:
        """Whether a connection came about at all."""
        if any(t.begin <= start < t.end and not t.treated_only for t in self.troubles) and (
            self._eaten(Side.FAR, start) or self._eaten(Side.NEAR, start)
        ):
            return False
        self._add(start, 2 if self.c.protocol is Protocol.TCP else 1, 1)
        time: float | None = start
        for pause, asks, answers in self._plan(behaviour):
            assert time is not None
            asked = time + pause
            time = self._exchange(asked, asks, answers)
            if time is None:
                self._give_up(asked)
            if time is None or time > self.c.ended:
                break
        else:
            orderly = self.c.protocol is Protocol.TCP and behaviour != "push"
            if orderly and time is not None and self.rng.random() < 0.9:
                self._add(time, 2, 2)
                self.c.ended = time
                self.c.reset = self.rng.random() < 0.05
        self.c.packets.sort()
        last = self.c.packets[-1][0]
        ended = self.c.ended < math.inf
        stays = RESET_TIMEOUT if self.c.reset else TIME_WAIT_SECONDS if ended else IDLE_SECONDS
        self.c.gone = last + stays
        return True

    def _give_up(self, asked: float) -> None:
        """The client waits no longer for what it asked at this time; if it is still there."""
        at = asked + self.rng.uniform(20, 90)
        if self._eaten(Side.GONE, at):
            return
        self.c.packets = [packet for packet in self.c.packets if packet[0] < at]
        self._add(at, 1, 0)
        if self.c.protocol is Protocol.TCP:
            self.c.ended, self.c.reset = at, True

    def _plan(self, behaviour: str) -> Iterator[tuple[float, int, int]]:
        """Seconds of pause, packets that the client sends, and those of the answer."""
        rng, kind = self.rng, behaviour or self.rng.choice(BEHAVIOURS)
        if kind == "push":
            yield 0.1, 2, 3
            pause = rng.uniform(30, 120)
            yield from ((pause, 1, 1) for _ in range(4))
        elif kind == "stream":
            yield 0.1, 1, 4
            up = rng.random() < 0.2
            chunk = (1.0, 10, 5) if up else (1.0, 0, 10)
            yield from (chunk for _ in range(int(rng.expovariate(1 / 100))))
        else:
            for _ in range(rng.randint(1, 6)):
                yield rng.expovariate(1 / 3), rng.randint(1, 4), rng.choice((1, 3, 10, 40))

    def _exchange(self, time: float, asks: int, answers: int) -> float | None:
        """When the client has its answer; None when it never gets one."""
        if self._eaten(Side.GONE, time) and asks:
            return None
        if asks:
            arrived = self._ask(time, asks)
            if arrived is None:
                return None
            time = arrived
        if self._eaten(Side.RESET, time):
            self._add(time, 0, 1)
            self.c.ended, self.c.reset = time, True
            return time
        return self._answer(time + ROUND_TRIP, asks, answers)

    def _ask(self, time: float, packets: int) -> float | None:
        for attempt in range(ATTEMPTS):
            self._add(time, 1 if attempt else packets, 0)
            if not self._eaten(Side.FAR, time):
                return time
            time += RETRANSMIT * 2**attempt
        return None

    def _answer(self, time: float, asks: int, packets: int) -> float | None:
        for attempt in range(ATTEMPTS):
            self._add(time, 0, 1 if attempt else packets)
            gone = self._eaten(Side.GONE, time)
            if not gone and not self._eaten(Side.NEAR, time):
                self._add(time, (packets + 1) // 2, 0)
                return time
            if asks and not gone:
                # No acknowledgement comes either: the client asks again, and is told again.
                self._add(time + RETRANSMIT * 2**attempt / 2, 1, 1)
            time += RETRANSMIT * 2**attempt
        return None

    def _add(self, time: float, original: int, reply: int) -> None:
        self.c.packets.append((time, (original, reply)))

    def _eaten(self, side: Side, time: float) -> bool:
        return any(
            t.side is side and t.begin <= time < t.end and self.rng.random() < t.loss
            for t in self.troubles
        )


BEHAVIOURS = ("web", "web", "web", "web", "web", "web", "stream", "stream", "push")
