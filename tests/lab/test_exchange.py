# SPDX-License-Identifier: GPL-2.0-or-later
"""The host asks, the guest answers, and either may be gone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.kernel import LabError
from tests.lab.reboots.exchange import Asker, serve
from tests.lab.wait import wait_for


def wait(condition: Callable[[], bool], what: str) -> None:
    wait_for(condition, what, limit=10, interval=0.01)


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    def halve(number: int) -> int:
        if number % 2:
            raise ValueError("an odd number")
        return number // 2

    def run() -> None:
        with suppress(SystemExit):
            serve(tmp_path, {"halve": halve, "end": sys.exit})

    guest = threading.Thread(target=run)
    guest.start()
    asking = Asker(tmp_path, wait)
    yield asking
    asking.tell("end")
    guest.join()


def test_answers_come_in_order(asker: Asker) -> None:
    assert [asker.ask("halve", number=number) for number in (2, 4, 6)] == [1, 2, 3]


def test_what_the_guest_cannot_do_is_told(asker: Asker) -> None:
    with pytest.raises(LabError, match=r"cannot halve: ValueError: an odd number"):
        asker.ask("halve", number=3)
    with pytest.raises(LabError, match="cannot double"):
        asker.ask("double", number=3)
    assert asker.ask("halve", number=8) == 4


def test_a_guest_that_dies_is_told(tmp_path: Path) -> None:
    def dead(condition: Callable[[], bool], what: str) -> None:
        raise LabError(f"the boot ended while waiting for {what}")

    with pytest.raises(LabError, match="while waiting for the router to halve"):
        Asker(tmp_path, dead).ask("halve", number=2)
