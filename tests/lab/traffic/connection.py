# SPDX-License-Identifier: GPL-2.0-or-later
"""What every kind of connection has in common: its progress, its fate, its end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from time import monotonic
from typing import Any

from tests.lab.traffic.patterns import Pattern
from tests.lab.traffic.report import ConnectionResult, Fate


@dataclass(frozen=True, slots=True)
class Order:
    """One connection to make: which number it has, what for, and where to."""

    number: int
    pattern: Pattern
    address: str
    port: int


class Progress:
    """Measures the gaps between a time when progress is due and when it comes."""

    def __init__(self, now: float) -> None:
        self.last = now
        self.longest = 0.0
        self.longest_at = now
        self._due_since: float | None = now

    def expect(self) -> None:
        """Something was sent that has to be answered."""
        if self._due_since is None:
            self._due_since = monotonic()

    def made(self, more_due: bool) -> None:
        self.last = monotonic()
        self.observe(self.last)
        self._due_since = self.last if more_due else None

    def gap(self, now: float) -> float:
        return 0.0 if self._due_since is None else now - self._due_since

    def observe(self, now: float) -> None:
        if self._due_since is not None and now - self._due_since > self.longest:
            self.longest, self.longest_at = now - self._due_since, self._due_since


class Connection(ABC):
    """One connection from the client's side; subclasses move the bytes."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.fate = Fate.ALIVE
        self.sent = 0
        self.received = 0
        self.progress = Progress(monotonic())
        self._detail = ""
        self._local_port = 0
        self._started = self.progress.last
        self._established: float | None = None
        self._ended: float | None = None

    @property
    def lost_datagrams(self) -> int:
        return 0

    @property
    def unfinished(self) -> bool:
        return self._ended is None

    async def run(self) -> None:
        """Open the connection; from then on it lives by itself."""
        try:
            await self._open()
        except TimeoutError as error:
            self.finish(Fate.TIMED_OUT, str(error))
        except OSError as error:
            self.finish(Fate.REFUSED, str(error))

    @abstractmethod
    async def _open(self) -> None: ...

    @abstractmethod
    def close(self, orderly: bool) -> None:
        """Close what is open; `orderly` lets the other side know and finish."""

    def prompt(self) -> None:  # noqa: B027 - most kinds have nothing to add
        """Do something now that makes progress due, if the connection idles."""

    def opened(self, transport: asyncio.BaseTransport) -> None:
        name: Any = transport.get_extra_info("sockname")
        self._local_port = name[1]

    def established(self) -> None:
        """The other side has answered for the first time."""
        self._established = monotonic()
        self.progress.made(more_due=True)

    def note(self, detail: str) -> None:
        """Keep the first thing that was odd, whatever becomes of the connection."""
        self._detail = self._detail or detail

    def finish(self, fate: Fate, detail: str = "") -> None:
        """Settle the fate; only the first verdict counts."""
        if self.unfinished:
            self._ended = monotonic()
            self.progress.observe(self._ended)
            self.fate = fate
            self.note(detail)
            self.close(orderly=fate in (Fate.ALIVE, Fate.COMPLETED))

    def check(self, now: float) -> None:
        """Give up when progress has been due for longer than the pattern allows."""
        if not self.unfinished:
            return
        self.progress.observe(now)
        if self.progress.gap(now) > self.order.pattern.stall_limit:
            self.finish(Fate.STALLED if self._established else Fate.TIMED_OUT)

    def result(self) -> ConnectionResult:
        now = monotonic()
        if self.unfinished:
            self.progress.observe(now)
        pattern = self.order.pattern
        return ConnectionResult(
            number=self.order.number,
            kind=type(pattern).__name__,
            host=pattern.host,
            family=pattern.family,
            fate=self.fate,
            local_port=self._local_port,
            remote=self.order.address,
            remote_port=self.order.port,
            sent=self.sent,
            received=self.received,
            started=self._started,
            established=self._established,
            ended=self._ended,
            longest_gap=self.progress.longest,
            longest_gap_at=self.progress.longest_at,
            silent_for=self.progress.gap(now) if self.unfinished else 0.0,
            lost_datagrams=self.lost_datagrams,
            detail=self._detail,
        )
