# SPDX-License-Identifier: GPL-2.0-or-later
"""Arms that are not drawn as designed are noticed, and right ones are left alone."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowguard.core.arms.sequential_test import SHARE_LIMIT, ShareCheck, update_share
from flowguard.core.records import replace
from flowguard.core.serial import from_json, to_json

CONTROL_SHARE = 1 / 16

shares = st.floats(0.01, 0.99)


def births(share: float, count: int, seed: int, designed: float) -> Iterator[ShareCheck]:
    rng, check = random.Random(seed), ShareCheck()
    for _ in range(0, count, 20):
        control = sum(rng.random() < share for _ in range(20))
        check = update_share(check, 20 - control, control, designed)
        yield check


@pytest.mark.parametrize("share", [1 / 16, 1 / 8, 1 / 2])
def test_the_right_share_is_never_broken(share: float) -> None:
    assert not any(check.broken for check in births(share, 100_000, 4, share))


@pytest.mark.parametrize(
    ("share", "births_until"),
    [(1 / 8, 1000), ((1 / 16) / (1 / 16 + 15 / 32), 1000), (0.0, 400), (1.0, 40)],
    ids=["drawn twice as often", "half the treated lost", "no control arm", "no treated arm"],
)
def test_a_wrong_share_is_found_soon(share: float, births_until: int) -> None:
    assert list(births(share, births_until, 5, CONTROL_SHARE))[-1].broken


def test_the_share_is_not_expected_to_look_broken() -> None:
    count, share = 12, 0.2
    expected = sum(
        math.comb(count, control)
        * share**control
        * (1 - share) ** (count - control)
        * math.exp(update_share(ShareCheck(), count - control, control, share).log_e)
        for control in range(count + 1)
    )
    assert expected == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1), shares)
def test_only_the_births_count_not_how_they_were_reported(
    reports: list[tuple[int, int]], share: float
) -> None:
    check = reduce(lambda c, r: update_share(c, r[0], r[1], share), reports, ShareCheck())
    treated, control = (sum(arm) for arm in zip(*reports, strict=True))
    assert check.log_e == update_share(ShareCheck(), treated, control, share).log_e
    assert from_json(ShareCheck, json.loads(json.dumps(to_json(check)))) == check


def test_another_share_counts_anew_but_stays_broken() -> None:
    broken = update_share(ShareCheck(), 0, 100, CONTROL_SHARE)
    assert broken.broken and broken.log_e >= math.log(SHARE_LIMIT)
    widened = update_share(broken, 10, 10, 0.5)
    assert (widened.treated, widened.control, widened.broken) == (10, 10, True)
    assert widened.log_e < 0
    assert not update_share(replace(widened, broken=False), 10, 10, 0.5).broken


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_a_share_that_leaves_one_arm_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="control share"):
        update_share(ShareCheck(), 1, 1, share)
