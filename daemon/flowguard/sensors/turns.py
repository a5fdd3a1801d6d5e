# SPDX-License-Identifier: GPL-2.0-or-later
"""Long work in pieces, so that whatever else waits in the loop has its turn in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")


async def in_turns(items: Iterable[T], at_once: int) -> AsyncIterator[T]:
    """The items as they come; after each `at_once` of them others have their turn."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % at_once:
            await asyncio.sleep(0)
