# SPDX-License-Identifier: GPL-2.0-or-later
"""No byte is counted twice: not over steps, restarts, lost events or looks that overlap."""

from __future__ import annotations

from flowguard.core.records import fields
from flowguard.sensors.byte_counts import Bytes
from tests.simulator.router import Life, Router
from tests.simulator.world import World


class CountedBytes:
    """What the daemon says that it has counted, beside what the connections have carried."""

    def __init__(self, world: World, router: Router) -> None:
        self._world = world
        self._router = router
        self._life: Life | None = None
        self._before = Bytes()

    def look(self) -> None:
        life = self._router.life
        if not (life and life.alive and life.service):
            return
        totals = life.service.byte_counts.totals
        if totals is None:
            return
        before = self._before if life is self._life else Bytes()
        self._life, self._before = life, totals
        paths = fields(totals)
        if any(getattr(totals, path) < getattr(before, path) for path in paths):
            self._world.violate(f"bytes are taken back: {before} became {totals}")
        carried = self._router.kernel.connections.carried()
        if sum(getattr(totals, path) for path in paths) > carried:
            self._world.violate(f"of {carried} bytes more were counted: {totals}")
