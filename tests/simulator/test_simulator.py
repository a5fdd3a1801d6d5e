# SPDX-License-Identifier: GPL-2.0-or-later
"""A share of the simulator that is quick enough for every day; see `./test simulate`."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.simulator.reverts import find
from tests.simulator.scenario import run
from tests.simulator.scene import listen

QUICK_SEEDS = range(2, 6)
QUICK_SECONDS = 900.0
QUICK_ROWS = (9, 10)
"""`./test simulate --reverts` takes back all of them."""


@pytest.fixture(autouse=True)
def ear() -> Iterator[None]:
    """The simulator listens to what the daemon logs; others get their log back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    listen()
    yield
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.parametrize("seed", QUICK_SEEDS)
def test_whatever_happens_nothing_happens_that_must_not(seed: int) -> None:
    assert run(seed, QUICK_SECONDS).violations == []


def test_a_seed_decides_everything() -> None:
    first, second = (run(12, QUICK_SECONDS, tracing=True) for _ in range(2))
    assert first.trace == second.trace
    assert len(first.trace) > 100
    assert run(8, QUICK_SECONDS, tracing=True).trace != first.trace


@pytest.mark.parametrize("row", QUICK_ROWS)
def test_a_mend_that_is_taken_back_is_found(row: int) -> None:
    assert find(row), f"nothing shows that row {row} is mended"
