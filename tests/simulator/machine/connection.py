# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection as connection tracking keeps it, without a single packet being simulated.

It has rates, and what it has counted is worked out when somebody asks.
"""

from __future__ import annotations

import socket
from typing import Protocol

from flowguard.core.model import FlowTuple
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry, Flow
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.kernel.conntrack.numbers import CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
from flowguard.kernel.netlink.codec import ATTRIBUTE

SEEN_REPLY, ASSURED, CONFIRMED = 1 << 1, 1 << 2, 1 << 3
SYN_SENT, ESTABLISHED, TIME_WAIT, CLOSE = 1, 3, 7, 8
NUMBERS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


class Ends(Protocol):
    """The two programs that talk over a connection."""

    def moved(self) -> None:
        """The packets take another way now."""
        ...

    def forgotten(self) -> None:
        """The kernel knows the connection no more."""
        ...


class Connection:
    """`table` is the flowtable that has it; `entered` and `timeout` say since when, for how long.

    `names` are the devices in and out as the forward hook sees them, `ports` those below, where
    the packets enter. `rates` are packets a second of both directions. While `is_in_engine` the
    counters are brought up to date every `lag` seconds only, or never (`frozen`). Whatever
    waits for the connection gives up when it is in another place (`token`) or was heard of
    (`activity`).
    """

    __slots__ = (
        "activity",
        "counted",
        "ends",
        "entered",
        "expiry",
        "family",
        "flow",
        "frozen",
        "id",
        "is_gone",
        "is_in_engine",
        "key",
        "lag",
        "mark",
        "names",
        "original",
        "ports",
        "rates",
        "reply_key",
        "since",
        "sizes",
        "status",
        "table",
        "tcp_state",
        "timeout",
        "token",
    )

    def __init__(
        self,
        number: int,
        flow: Flow,
        names: tuple[str, str],
        ports: tuple[str, str],
        now: float,
    ) -> None:
        self.id = number
        self.flow = flow
        self.original: FlowTuple = flow.original
        self.family = flow.original.family
        self.names = names
        self.ports = ports
        self.key = encode_tuple(CTA_TUPLE_ORIG, flow.original)[1][ATTRIBUTE.size :]
        self.reply_key = encode_tuple(CTA_TUPLE_REPLY, flow.reply)[1][ATTRIBUTE.size :]
        self.mark = 0
        self.status = CONFIRMED
        self.tcp_state: int | None = SYN_SENT if self.is_tcp else None
        self.counted = [0.0, 0.0]
        self.rates = (0.0, 0.0)
        self.sizes = (200, 1000)
        self.since = now
        self.table: str | None = None
        self.is_in_engine = False
        self.entered = self.timeout = 0.0
        self.lag = 0.0
        self.frozen = False
        self.expiry = now + 120
        self.is_gone = False
        self.token = 0
        self.activity = 0
        self.ends: Ends | None = None

    @property
    def addresses(self) -> tuple[str, str]:
        """The real addresses on both sides, whatever NAT shows to the other."""
        return self.original.source, self.flow.reply.source

    @property
    def is_tcp(self) -> bool:
        return self.original.protocol == "tcp"

    def settle(self, now: float) -> None:
        """Take into the counters what has passed until now."""
        if not (self.frozen and self.is_in_engine):
            elapsed = now - self.since
            self.counted[0] += self.rates[0] * elapsed
            self.counted[1] += self.rates[1] * elapsed
        self.since = now

    def shown(self, now: float) -> tuple[int, int]:
        """Packets of both directions as the kernel has them now."""
        elapsed = now - self.since
        if self.is_in_engine:
            if self.frozen:
                elapsed = 0.0
            elif self.lag:
                told = self.entered + (now - self.entered) // self.lag * self.lag
                elapsed = max(0.0, told - self.since)
        rates, counted = self.rates, self.counted
        return int(counted[0] + rates[0] * elapsed), int(counted[1] + rates[1] * elapsed)

    def packets(self) -> int:
        """Both directions together; call `settle` before."""
        return int(self.counted[0]) + int(self.counted[1])

    def carried(self, now: float) -> int:
        """Bytes of both directions as the kernel has them now."""
        return sum(count * size for count, size in zip(self.shown(now), self.sizes, strict=True))

    def entry(self, now: float, *, destroyed: bool = False, killed: bool = False) -> Entry:
        """As a dump shows it, or the announcement of its end."""
        original, reply = self.shown(now)
        offloaded = self.status & OFFLOAD and not destroyed
        status = self.status & ~(OFFLOAD | HW_OFFLOAD) if destroyed else self.status
        left: int | None = max(0, int(self.expiry - now))
        if offloaded or (destroyed and not killed):
            left = None
        return Entry(
            self.id,
            status,
            self.mark,
            NUMBERS[self.original.protocol],
            original,
            original * self.sizes[0],
            reply,
            reply * self.sizes[1],
            True,
            None if offloaded else self.tcp_state,
            left,
            self.key,
            self.reply_key,
        )
