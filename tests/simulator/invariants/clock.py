# SPDX-License-Identifier: GPL-2.0-or-later
"""Time in which the daemon could have acted: what it is measured by."""

from __future__ import annotations

from tests.simulator.router import Router
from tests.simulator.world import World

REFUSED_SECONDS = 2.6
"""After a refusal the kernel is asked again that soon when hardware has to be left."""


class AbleTime:
    """Adds up the seconds in which a daemon lived, had started, and the kernel was free."""

    def __init__(self, world: World, router: Router) -> None:
        self.seconds = 0.0
        self._world = world
        self._router = router
        self._last = 0.0
        self._could = False

    def look(self) -> None:
        now = self._world.now
        if self._could:
            self.seconds += now - self._last
        self._last = now
        self._could = self.could_act()

    def could_act(self) -> bool:
        life = self._router.life
        if life is None or not life.alive or life.running is None:
            return False
        transactions = self._router.kernel.transactions
        refused = self._world.now - transactions.last_refusal < REFUSED_SECONDS
        return life.running._started.is_set() and not (transactions.is_busy or refused)
