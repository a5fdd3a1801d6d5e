# SPDX-License-Identifier: GPL-2.0-or-later
"""How many bytes took which path: hardware, software, or neither.

Connection tracking counts the bytes of each connection, whatever path they take, and its status
says which path that is now. So what was counted since the look before is given to the path: to
the higher one of both looks, since a flow goes up with its first packets and comes down when it
pauses, ends or is pulled out. The looks are those of other sensors; none is made for this.

What is remembered of a connection is its bytes, once they are more than SMALL. Smaller ones are
counted when they end. Nine of ten connections are that small, and carry next to nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from flowguard.core.model import Level
from flowguard.core.records import frozen
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD, Entry

SMALL = 16_384
"""Bytes. Up to here a connection costs no memory; above it some 120 bytes."""
MOST = 20_000
"""More connections are not remembered at a time; the others are counted when they end."""
RATE_SECONDS = 60.0
SAMPLES = 16
_NONE, _SOFTWARE, _HARDWARE = Level.NONE.rank, Level.SOFTWARE.rank, Level.HARDWARE.rank


@frozen
class Bytes:
    """Bytes of both directions by path."""

    hardware: int = 0
    software: int = 0
    none: int = 0


@frozen
class Rates:
    """Bytes a second by path, and over how many seconds."""

    hardware: float
    software: float
    none: float
    seconds: float


class ByteCounts:
    """Feed it each look at connections, in parts, and each end; any number of looks may overlap.

    What went by before its first whole look is not counted, but for small connections.
    """

    def __init__(self) -> None:
        # By rank of the level.
        self._totals = [0, 0, 0]
        # By conntrack id: the bytes counted so far, the path, and the look that has seen it last,
        # of which the numbers are 0 to 3.
        self._known: dict[int, int] = {}
        self._look = 0
        self._has_begun = False
        self._has_rested = False
        self._samples: deque[tuple[float, Bytes]] = deque(maxlen=SAMPLES)

    @property
    def totals(self) -> Bytes | None:
        """Since the boot, as far as a daemon ran; None before the first look."""
        if not self._has_begun:
            return None
        return self._sum()

    def go_on_from(self, former: Bytes) -> None:
        """What a daemon before this one had counted is part of the totals."""
        self._totals[_HARDWARE] += former.hardware
        self._totals[_SOFTWARE] += former.software
        self._totals[_NONE] += former.none

    def look(self, entries: Iterable[Entry]) -> None:
        """A part of a look at connections."""
        known, totals, look = self._known, self._totals, self._look
        for entry in entries:
            counted = entry.original_bytes + entry.reply_bytes
            if counted <= SMALL:
                continue
            status = entry.status
            path = _NONE
            if status & OFFLOAD:
                path = _HARDWARE if status & HW_OFFLOAD else _SOFTWARE
            before = known.get(entry.id)
            if before is None:
                if len(known) < MOST:
                    known[entry.id] = self._already_counted(counted) << 4 | path << 2 | look
                continue
            former = before >> 4
            if counted > former:
                totals[max(path, before >> 2 & 3)] += counted - former
            else:
                counted = former  # What was read sooner may come later.
            known[entry.id] = counted << 4 | path << 2 | look

    def looked(self) -> None:
        """That was a whole look at all answered connections.

        Who was in none of the last two is gone; in one it may be missing, as looks overlap.
        """
        look = self._look
        for number in [n for n, value in self._known.items() if look - value & 3 > 1]:
            del self._known[number]
        self._look = look + 1 & 3
        self._has_begun, self._has_rested = True, False

    def ended(self, entries: Iterable[Entry]) -> None:
        """Connections that ended, with their last counters."""
        for entry in entries:
            before = self._known.pop(entry.id, None)
            counted = entry.original_bytes + entry.reply_bytes
            if before is not None:
                # Whatever its status says now: it was taken out of the flowtable before.
                self._totals[before >> 2 & 3] += max(0, counted - (before >> 4))
            elif self._has_begun:
                self._totals[_NONE] += counted

    def rest(self) -> None:
        """Nobody looks for now, because nothing is offloaded."""
        if not self._has_rested:
            path = 3 << 2
            self._known = {number: value & ~path for number, value in self._known.items()}
        self._has_rested = True

    def sample(self, time: float) -> None:
        """Note the totals for the rates, every few seconds."""
        if self._has_begun:
            self._samples.append((time, self._sum()))

    def rates(self) -> Rates | None:
        """Of the last minute, or of less where there is less; None before there are two samples."""
        if len(self._samples) < 2:
            return None
        end, last = self._samples[-1]
        # The latest one that is a minute old, else the oldest.
        old = [sample for sample in self._samples if end - sample[0] >= RATE_SECONDS]
        start, first = old[-1] if old else self._samples[0]
        seconds = end - start
        if seconds <= 0:
            return None
        return Rates(
            (last.hardware - first.hardware) / seconds,
            (last.software - first.software) / seconds,
            (last.none - first.none) / seconds,
            seconds,
        )

    def _already_counted(self, counted: int) -> int:
        """The bytes of a newcomer that are not to be counted any more.

        It is counted when it is seen again, or ends: what a look has read of one that has ended
        meanwhile must not count a second time.
        """
        if not self._has_begun:
            return counted
        if self._has_rested:
            self._totals[_NONE] += counted
            return counted
        return 0

    def _sum(self) -> Bytes:
        totals = self._totals
        return Bytes(totals[_HARDWARE], totals[_SOFTWARE], totals[_NONE])
