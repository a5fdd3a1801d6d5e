# SPDX-License-Identifier: GPL-2.0-or-later
"""Sensors look together, at beats of the loop's clock."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.sensors.beat import until_beat
from tests import virtual_time
from tests.virtual_time import now


@given(st.floats(0, 3600), st.sampled_from([5.0, 10.0]), st.floats(0, 60))
def test_the_next_beat_is_the_first_that_is_late_enough(
    start: float, seconds: float, at_least: float
) -> None:
    async def story() -> None:
        await asyncio.sleep(start)
        rest = until_beat(seconds, at_least)
        least = max(at_least, 0.1 * seconds)
        assert least <= rest + 1e-6 and rest <= least + seconds + 1e-6
        beats = (asyncio.get_running_loop().time() + rest) / seconds
        assert beats == pytest.approx(round(beats), abs=1e-6)

    virtual_time.run(story())


def test_two_that_began_at_different_times_look_at_the_same() -> None:
    async def looks(start: float, seconds: float) -> list[float]:
        await asyncio.sleep(start)
        began = []
        for _ in range(4):
            await asyncio.sleep(until_beat(seconds))
            began.append(round(now(), 3))
        return began

    async def story() -> None:
        often, seldom = await asyncio.gather(looks(1.3, 5), looks(2.9, 10))
        assert often == [5, 10, 15, 20]
        assert seldom == [10, 20, 30, 40]

    virtual_time.run(story())
