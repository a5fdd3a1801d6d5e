# SPDX-License-Identifier: GPL-2.0-or-later
"""Much work on single connections: on one socket, and never much of it at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

from flowguard.kernel.conntrack.numbers import open_socket

AT_ONCE = 50

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_chunks(
    items: Sequence[Item], work: Callable[[socket.socket, Sequence[Item]], list[Result]]
) -> list[Result]:
    """What `work` makes of them, in a thread, AT_ONCE at a time; raises OSError and what it does.

    Whoever stops waiting stops the work after what is under way.
    """
    results: list[Result] = []
    if not items:
        return results
    loop = asyncio.get_running_loop()
    with open_socket() as opened:
        for first in range(0, len(items), AT_ONCE):
            some = items[first : first + AT_ONCE]
            results += await loop.run_in_executor(None, work, opened, some)
    return results
