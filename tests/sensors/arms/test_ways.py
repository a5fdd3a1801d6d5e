# SPDX-License-Identifier: GPL-2.0-or-later
"""Behind which devices a flow's ends are, and how long an answer holds."""

from __future__ import annotations

import logging

import pytest

from flowguard.core.model import FlowTuple
from flowguard.kernel.conntrack import Flow
from flowguard.sensors.arms.ways import ENTRIES, Ways
from tests.sensors.machine import Net

INSIDE, OUTSIDE, ROUTER = "192.168.1.2", "203.0.113.1", "198.51.100.7"


class Router:
    """A router that the time passes on as the test says."""

    def __init__(self) -> None:
        self.time = 100.0
        self.net = Net()
        self.net.routes = {INSIDE: "lan1", OUTSIDE: "wan"}
        self.ways = Ways(self.net, lambda: self.time)

    def pair(self, inside: str = INSIDE, outside: str = OUTSIDE) -> tuple[str, str] | None:
        original = FlowTuple("tcp", inside, outside, 1000, 80)
        return self.ways.pair_of(Flow(original, FlowTuple("tcp", outside, ROUTER, 80, 2000)))


@pytest.fixture
def router() -> Router:
    return Router()


def test_both_real_ends_make_the_pair_in_one_order(router: Router) -> None:
    assert router.pair() == router.pair(OUTSIDE, INSIDE) == ("lan1", "wan")


def test_an_end_without_a_device_makes_no_pair(router: Router) -> None:
    assert router.pair(outside="192.0.2.99") is None
    assert router.pair(inside="192.0.2.99") is None


def test_answers_are_kept_for_a_minute(router: Router) -> None:
    router.pair()
    router.net.routes[OUTSIDE] = "wan2"
    router.time += 59
    assert router.pair() == ("lan1", "wan")
    router.time += 1
    assert router.pair() == ("lan1", "wan2")
    assert len(router.net.asked) == 4


def test_that_there_is_no_way_is_an_answer_too(router: Router) -> None:
    router.net.routes[OUTSIDE] = None
    assert router.pair() is router.pair() is None
    assert len(router.net.asked) == 2


def test_forgetting_asks_again(router: Router) -> None:
    router.pair()
    router.net.routes[OUTSIDE] = "wan2"
    router.ways.forget()
    assert router.pair() == ("lan1", "wan2")


def test_the_oldest_answer_makes_room(router: Router) -> None:
    for number in range(ENTRIES):
        router.pair(outside=f"10.1.{number >> 8}.{number & 255}")
    router.net.asked.clear()
    router.pair(outside=f"10.1.{(ENTRIES - 1) >> 8}.{(ENTRIES - 1) & 255}")
    assert router.net.asked == [INSIDE]  # The oldest of all by then.
    router.net.asked.clear()
    router.pair(outside="10.1.0.0")
    assert router.net.asked == ["10.1.0.0"]


def test_errors_are_reported_once(router: Router, caplog: pytest.LogCaptureFixture) -> None:
    router.net.routes |= {INSIDE: OSError("odd"), OUTSIDE: OSError("odd too")}
    with caplog.at_level(logging.WARNING):
        assert router.pair() is None
    (record,) = caplog.records
    assert INSIDE in record.getMessage()
