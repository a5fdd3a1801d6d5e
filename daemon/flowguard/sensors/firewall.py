# SPDX-License-Identifier: GPL-2.0-or-later
"""Others that offload: the firewall, for which flowguard stands by, and whoever competes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from flowguard.core.events import Event, StandbyChanged, TablesLost
from flowguard.core.interface import Interface
from flowguard.core.model import Level
from flowguard.kernel.machine import Tables
from flowguard.kernel.nftables.names import FIREWALL_TABLE
from flowguard.sensors.watching import ChangesSensor

STOPPED = "the firewall was stopped; flowguard goes on when it is started"
OWN_OFFLOADING = "the firewall's own flow offloading is on (fw4-offload); switch it off there"

Levels = tuple[tuple[str, Level], ...] | None

log = logging.getLogger(__name__)


class Firewall(Interface):
    """What the platform knows of its firewall."""

    async def is_stopped(self) -> bool:
        """Whether it was stopped on purpose; False where there is none."""
        ...

    async def started(self) -> None:
        """Wait until it is started again."""
        ...


class Standby:
    """`reason` says why no device may take part; empty when nothing is in the way.

    `competitors` are what else has flowtables, a line each.
    """

    def __init__(self, tables: Tables, firewall: Firewall) -> None:
        self.reason = ""
        self.competitors: tuple[str, ...] = ()
        self._tables = tables
        self._firewall = firewall

    async def look(self, tables_lost: bool) -> bool:
        """Find the reason anew; whether it is another than before. Raises OSError.

        A firewall without state was stopped when our tables went with it; before that it may
        never have been in use.
        """
        stopped = (tables_lost or self.reason == STOPPED) and await self._firewall.is_stopped()
        offloads = await self._firewall_offloads()
        before = self.reason  # Not sooner: each table that goes has us look, at the same time.
        self.reason = OWN_OFFLOADING if offloads else STOPPED if stopped else ""
        if self.reason and self.reason != before:
            log.warning("%s", self.reason)
        return self.reason != before

    async def look_for_competitors(self) -> None:
        """Find them anew, and warn of those that were not there before."""
        try:
            found = await self._tables.foreign_flowtables()
        except OSError as error:
            log.warning("other programs' flowtables cannot be seen: %s", error.strerror or error)
            return
        former, self.competitors = (
            self.competitors,
            tuple(
                f"{competitor}: switch that off, or flowguard cannot do its work"
                for competitor in found
                # It is why we stand by.
                if competitor.table != FIREWALL_TABLE
            ),
        )
        for problem in self.competitors:
            if problem not in former:
                log.warning("%s", problem)

    async def firewall_started(self) -> None:
        """Wait until it is."""
        await self._firewall.started()

    async def _firewall_offloads(self) -> bool:
        """Two flowtables on one device compete for its flows, and the firewall's comes first."""
        found = await self._tables.foreign_flowtables()
        return any(flowtable.table == FIREWALL_TABLE for flowtable in found)


async def _unknown() -> None:
    """Nobody looks."""


class FirewallSensor:
    """Feeds what it means for us that somebody touched tables: a fight, or a reason to stand by.

    `intact` says whether our tables are as we left them, and `held` what levels they give now.
    """

    name = "firewall"
    patience: float | None = None

    def __init__(
        self,
        standby: Standby,
        intact: Callable[[], Awaitable[bool]],
        feed: Callable[[Event], None],
        now: Callable[[], float],
        held: Callable[[], Awaitable[Levels]] = _unknown,
    ) -> None:
        self._standby = standby
        self._held = held
        self._intact = intact
        self._feed = feed
        self._now = now
        self._touched = asyncio.Event()

    def touched(self) -> None:
        """Somebody took tables of ours away, or has come or gone with a flowtable of his own."""
        self._touched.set()

    async def run(self, alive: Callable[[], None]) -> None:
        while True:
            alive()
            if self._standby.reason == STOPPED:
                await self._standby.firewall_started()
            else:
                await self._touched.wait()
            self._touched.clear()
            try:
                await self.look()
            except BaseException:
                self._touched.set()  # The next run looks first.
                raise

    async def look(self) -> None:
        """Find out now; raises OSError when the tables cannot be read."""
        # What the firewall does itself is seen at once; our own changes may take their time.
        if await self._look(tables_lost=False):
            return
        if await self._intact():
            return
        if not await self._look(tables_lost=True) and not self._standby.reason:
            held = await self._held()
            self._feed(TablesLost(self._now(), held))

    async def _look(self, tables_lost: bool) -> bool:
        changed = await self._standby.look(tables_lost)
        if changed:
            self._feed(StandbyChanged(self._now(), self._standby.reason))
        return changed


class TablesSensor(ChangesSensor):
    """Calls `touched` when somebody else deleted something of ours, or has come or gone with a
    flowtable.
    """

    def __init__(self, tables: Tables, touched: Callable[[], None]) -> None:
        super().__init__("tables", tables.watch, touched)
