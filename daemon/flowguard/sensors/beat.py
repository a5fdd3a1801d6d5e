# SPDX-License-Identifier: GPL-2.0-or-later
"""A common beat: sensors that look now and then look together, and the processor sleeps between."""

from __future__ import annotations

import asyncio

# Of a beat; whoever comes sooner than that before the next one skips it.
LEAST = 0.1


def until_beat(seconds: float, at_least: float = 0.0) -> float:
    """How long it is until the next beat, in seconds; beats are multiples of `seconds` on the
    event loop's clock. One that comes sooner than `at_least` is left out.
    """
    now = asyncio.get_running_loop().time()
    after = now + max(at_least, LEAST * seconds)
    return after - now + -after % seconds
