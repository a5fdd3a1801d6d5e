# SPDX-License-Identifier: GPL-2.0-or-later
"""What is looked at every few seconds: the offloaded flows and the packet engine's table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from flowguard.core.events import Event
from flowguard.core.tables.description import Plan
from flowguard.kernel.clock import monotonic
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.kernel.sysctls import min_packets_problem
from flowguard.sensors.engine_table import EngineWatch
from flowguard.sensors.flow_counts import FlowCounter

POLL_SECONDS = 10
NOTHING = Plan(None, None)

log = logging.getLogger(__name__)


class Polling:
    """Tells `feed` what it sees; `health` has one entry a sensor, for the status.

    `plan` and `epoch` give what the kernel holds at the moment; `min_packets` the setting.
    """

    def __init__(
        self,
        feed: Callable[[Event], None],
        plan: Callable[[], Plan],
        epoch: Callable[[], int],
        min_packets: Callable[[], int],
    ) -> None:
        self.health: dict[str, str] = {}
        self._feed = feed
        self._plan = plan
        self._epoch = epoch
        self._min_packets = min_packets
        self._counter = FlowCounter()
        self._engine = EngineWatch()

    async def run(self, afterwards: Callable[[], None]) -> None:
        """Look every POLL_SECONDS, for ever, and call `afterwards` each time."""
        while True:
            if self._plan() != NOTHING:
                await self.look_at_flows()
                await self._look_at_engine()
            afterwards()
            await asyncio.sleep(POLL_SECONDS)

    async def look_at_flows(self) -> None:
        """Count the offloaded flows now."""
        self._report_missing_counters()
        try:
            self._feed(await self._counter.look(monotonic(), self._plan()))
            self.health["flows"] = "ok"
        except (OSError, MalformedMessage) as error:
            self.health["flows"] = f"flows cannot be counted: {error}"

    def _report_missing_counters(self) -> None:
        """Looked at again and again: sysctl.d may come after us and switch counting off."""
        problem = min_packets_problem(self._min_packets())
        if problem and self.health.get("counters") != problem:
            log.error("%s", problem)
        self.health["counters"] = problem or "ok"

    async def _look_at_engine(self) -> None:
        try:
            seen = await self._engine.look(monotonic(), self._epoch())
        except (OSError, MalformedMessage) as error:
            self.health["engine"] = f"the engine cannot be compared: {error}"
            return
        available = self._engine.available
        self.health["engine"] = "ok" if available else "not available: no engine to look into"
        if seen and (seen.orphan_count or seen.half_bound_count):
            self._feed(seen)
