# SPDX-License-Identifier: GPL-2.0-or-later
"""How long the daemon takes to end, at most."""

from __future__ import annotations

from flowguard.actuators.approach import RELEASE_SECONDS
from flowguard.platform.configuration.options import Configuration
from flowguard.service.running import END_MARGIN, FLASH_SECONDS, START_SECONDS


def longest_end() -> float:
    """Seconds, with the default limit of a drain, asked for while it still starts."""
    leaving = max(Configuration().drain_limit + END_MARGIN, RELEASE_SECONDS)
    return START_SECONDS + leaving + FLASH_SECONDS
