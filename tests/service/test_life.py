# SPDX-License-Identifier: GPL-2.0-or-later
"""A life that ends before the loop listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard import rules
from flowguard.core.faults import FaultRules
from flowguard.kernel.clock import monotonic
from flowguard.kernel.files import LinuxFiles
from flowguard.kernel.machine import Machine
from flowguard.paths import Paths
from flowguard.platform import log
from flowguard.platform.configuration.loading import Loaded
from flowguard.platform.configuration.options import Configuration
from flowguard.service import life, retreat
from flowguard.service.runs import Runs

LOADED = Loaded(Configuration(enabled=True), ())


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for the kernel; notes each time that hardware is left for software."""
    noted: list[str] = []

    def note(machine: Machine, configuration: Configuration, paths: Paths) -> None:
        noted.append(paths.state_directory)

    monkeypatch.setattr(retreat, "to_software", note)
    monkeypatch.setattr(log, "set_up", lambda level: "")
    return noted


def live(directory: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """One life in which this happens while the rules are read."""

    def read(files: tuple[str, ...]) -> FaultRules:
        raise error

    monkeypatch.setattr(rules, "load_usable", read)
    with pytest.raises(type(error)):
        life.live(Paths(None, str(directory), str(directory / "s")), LOADED)


def test_stops_in_the_first_seconds_are_no_deaths_and_leave_no_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[str]
) -> None:
    for _ in range(life.DEATHS_LIMIT):
        live(tmp_path, monkeypatch, SystemExit(0))
    assert Runs(LinuxFiles(), str(tmp_path)).begin(monotonic()) == 0
    assert left == [str(tmp_path)] * life.DEATHS_LIMIT


def test_one_that_died_too_often_begins_with_leaving_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[str]
) -> None:
    for _ in range(life.DEATHS_LIMIT):
        live(tmp_path, monkeypatch, MemoryError())
    assert not left
    live(tmp_path, monkeypatch, MemoryError())
    assert left == [str(tmp_path)]
