# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import errno
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from flowguard.kernel.files import LinuxFiles
from flowguard.service.runs import WINDOW_SECONDS, Runs


def runs_in(folder: Path) -> Runs:
    return Runs(LinuxFiles(), str(folder))


def test_runs_that_end_as_told_are_no_deaths(tmp_path: Path) -> None:
    for now in (10.0, 20.0, 30.0):
        runs = runs_in(tmp_path)
        assert runs.begin(now) == 0
        runs.end()


def test_deaths_add_up_and_an_end_as_told_makes_good_for_them(tmp_path: Path) -> None:
    assert [runs_in(tmp_path).begin(now) for now in (10.0, 20.0, 30.0)] == [0, 1, 2]
    runs = runs_in(tmp_path)
    assert runs.begin(40.0) == 3
    runs.end()
    assert runs_in(tmp_path).begin(50.0) == 0


def test_one_that_began_long_ago_was_able_to_stay_up(tmp_path: Path) -> None:
    runs_in(tmp_path).begin(10.0)
    runs_in(tmp_path).begin(20.0)
    assert runs_in(tmp_path).begin(15.0 + WINDOW_SECONDS) == 1


@given(st.text())
def test_a_damaged_file_counts_for_nothing(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "runs").write_text(text, encoding="utf-8")
        runs_in(Path(folder)).begin(100.0)
        assert runs_in(Path(folder)).begin(101.0) >= 1


class FullDisk(LinuxFiles):
    def replace(self, path: str, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)


def test_a_run_that_cannot_be_noted_begins_all_the_same(tmp_path: Path) -> None:
    assert runs_in(tmp_path).begin(10.0) == 0
    assert Runs(FullDisk(), str(tmp_path)).begin(20.0) == 1
