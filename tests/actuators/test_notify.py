# SPDX-License-Identifier: GPL-2.0-or-later
"""Everybody is told, and whoever cannot be told keeps nobody else from hearing it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from flowguard.actuators.notify import Telling
from flowguard.core.events import Decided, Moved, Notify, PowerCycleNeeded, Severity
from flowguard.core.model import Attribution, Decision, Fault, FaultClass, Level

STEP = Decision(7.5, "wan", Level.HARDWARE, Level.SOFTWARE, "driver fault")
STAY = Decision(8.0, "wan", Level.SOFTWARE, Level.SOFTWARE, "exonerated")
FAULT = Fault("r", FaultClass.TX_TIMEOUT, Attribution.DRIVER, None, "d", "a\0b")

HEARD = [FAULT, "wan: no\0", STEP]
"""What a listener hears of all that `tell_all` tells."""


class Listener:
    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.heard: list[Decision | Fault | str] = []

    def moved(self, decision: Decision) -> None:
        self._hear(decision)

    def fault_seen(self, fault: Fault) -> None:
        self._hear(fault)

    def power_cycle_needed(self, device: str, evidence: str) -> None:
        self._hear(f"{device}: {evidence}")

    def _hear(self, what: Decision | Fault | str) -> None:
        if self.failure:
            raise self.failure
        self.heard.append(what)


class NoNul(logging.Handler):
    """As syslog(3) of Python 3.12 and later, and `broken` as one that takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False

    def emit(self, record: logging.LogRecord) -> None:
        if self.broken or "\0" in record.getMessage():
            raise ValueError("embedded null character")


@pytest.fixture
def handler() -> Iterator[NoNul]:
    added = NoNul()
    logging.getLogger().addHandler(added)
    yield added
    logging.getLogger().removeHandler(added)


def tell_all(telling: Telling) -> None:
    telling.tell(Notify(Severity.ERROR, "a\0b"))
    telling.tell(Decided(STEP))
    telling.fault_seen(FAULT)
    telling.tell(PowerCycleNeeded("wan", "no\0"))
    telling.tell(Moved(STEP))


def test_listeners_hear_of_faults_and_moves_and_of_no_decision_to_stay() -> None:
    telling, listener = Telling(), Listener()
    telling.add("hook", listener)
    telling.tell(Decided(STAY))
    tell_all(telling)
    assert listener.heard == HEARD
    assert telling.health == {}


def test_a_listener_that_fails_is_in_the_health_until_it_hears_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telling, deaf, other = Telling(), Listener(OSError("gone")), Listener()
    telling.add("ubus", deaf)
    telling.add("hook", other)
    for _ in range(3):
        tell_all(telling)
    assert other.heard == HEARD * 3
    assert telling.health == {"ubus": "not available: gone"}
    assert caplog.text.count("ubus could not be told: gone") == 1
    deaf.failure = None
    tell_all(telling)
    assert deaf.heard == HEARD
    assert telling.health == {}


def test_a_log_that_takes_no_nul_keeps_nobody_from_hearing(handler: NoNul) -> None:
    telling, listener = Telling(), Listener()
    telling.add("hook", listener)
    telling.tell(Notify(Severity.ERROR, "a\0b"))
    assert telling.health == {"log": "not available: embedded null character"}
    tell_all(telling)
    assert listener.heard == HEARD


def test_a_log_that_takes_nothing_is_in_the_health(handler: NoNul) -> None:
    telling, listener = Telling(), Listener(OSError("gone"))
    telling.add("hook", listener)
    handler.broken = True
    tell_all(telling)
    assert set(telling.health) == {"log", "hook"}
    handler.broken = False
    telling.tell(Decided(STEP))
    assert set(telling.health) == {"hook"}


@pytest.mark.parametrize(
    ("decision", "level"), [(STEP, logging.WARNING), (STAY, logging.INFO)], ids=["step", "stay"]
)
def test_a_step_down_is_a_warning_in_the_log(
    decision: Decision, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Telling().tell(Decided(decision))
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (level, str(decision))
