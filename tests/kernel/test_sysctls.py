# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import logging
from pathlib import Path

import pytest

from flowguard.kernel.sysctls import NAMES, FlowTimeouts


class Lab:
    def __init__(self, directory: Path) -> None:
        self.proc = directory / "proc"
        self.runtime = directory / "run"
        self.proc.mkdir()
        self.runtime.mkdir()

    def kernel(self, *values: int) -> None:
        for name, value in zip(NAMES, values, strict=True):
            (self.proc / name).write_text(f"{value}\n")

    @property
    def values(self) -> list[int]:
        return [int((self.proc / name).read_text()) for name in NAMES]

    def daemon(self) -> FlowTimeouts:
        """A new process: it knows only what is in the files."""
        return FlowTimeouts(str(self.runtime), str(self.proc))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.kernel(30, 45)
    return made


def test_override_and_restore(lab: Lab) -> None:
    timeouts = lab.daemon()
    timeouts.override(0)
    assert lab.values == [0, 0]
    timeouts.override(10)
    assert lab.values == [10, 10]
    timeouts.restore()
    assert lab.values == [30, 45]
    assert list(lab.runtime.iterdir()) == []


def test_next_process_restores_what_a_killed_one_changed(lab: Lab) -> None:
    lab.daemon().override(0)
    lab.daemon().override(5)
    lab.daemon().restore()
    assert lab.values == [30, 45]


def test_killed_between_journal_and_change(lab: Lab) -> None:
    (lab.runtime / "flow_timeouts.json").write_text('{"nf_flowtable_tcp_timeout": 30}')
    lab.daemon().restore()
    assert lab.values == [30, 45]


def test_nothing_recorded_means_nothing_restored(lab: Lab) -> None:
    lab.daemon().restore()
    assert lab.values == [30, 45]


def test_kernel_without_the_sysctls(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    for name in NAMES:
        (lab.proc / name).unlink()
    with caplog.at_level(logging.WARNING):
        lab.daemon().override(0)
    lab.daemon().restore()
    assert "draining takes the kernel's own time" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"nf_flowtable_tcp_timeout": "x"}'])
def test_damaged_journal_is_reported(
    lab: Lab, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (lab.runtime / "flow_timeouts.json").write_text(content)
    lab.daemon().restore()
    assert lab.values == [30, 45]
    assert "damaged" in caplog.text
