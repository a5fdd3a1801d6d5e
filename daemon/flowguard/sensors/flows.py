# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts offloaded flows per place, and those that the driver silently refused."""

from __future__ import annotations

from flowguard.core.model import FlowsSeen
from flowguard.core.plan import Plan


class FlowCounter:
    """Remembers the last look, because a refusal is only one that lasts."""

    async def look(self, time: float, plan: Plan) -> FlowsSeen:
        """Count now. `refused` needs two looks at least two seconds apart."""
        raise NotImplementedError
