# SPDX-License-Identifier: GPL-2.0-or-later
"""Long work lets others have their turn."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from flowguard.sensors.turns import in_turns
from tests import virtual_time


@given(st.lists(st.integers()), st.integers(1, 20))
def test_all_come_in_order_and_others_have_their_turn(items: list[int], at_once: int) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def story() -> None:
        task = asyncio.create_task(others())
        found = [item async for item in in_turns(items, at_once)]
        task.cancel()
        assert found == items
        assert turns == len(items) // at_once

    virtual_time.run(story())
