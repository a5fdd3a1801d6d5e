# SPDX-License-Identifier: GPL-2.0-or-later
"""What survives a restart, a reboot and a broken file."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.core.model import Level, Verdict
from flowguard.host.store import StateStore

VERDICT = Verdict("wan", Level.SOFTWARE, 2, 100.0, 1200.0, 1300.0, "why", "rule", "line")


def store(directory: Path, boot: str = "this boot") -> StateStore:
    return StateStore(str(directory), boot)


def test_nothing_stored_is_no_problem(tmp_path: Path) -> None:
    assert store(tmp_path).load(10, 30) == (None, "")


def test_a_restart_in_the_same_boot_finds_everything_as_it_was(tmp_path: Path) -> None:
    store(tmp_path / "new").save(Level.HARDWARE, Level.SOFTWARE, (VERDICT,))
    memory, problem = store(tmp_path / "new").load(200, 30)
    assert memory and not problem
    assert memory.verdicts == (VERDICT,)
    assert memory.wanted is Level.SOFTWARE


def test_after_a_reboot_the_hold_off_starts_anew_in_the_new_clock(tmp_path: Path) -> None:
    store(tmp_path).save(Level.HARDWARE, Level.SOFTWARE, (VERDICT,))
    memory, _ = store(tmp_path, "next boot").load(5, 30)
    assert memory
    (verdict,) = memory.verdicts
    assert verdict.held_until == 5 + VERDICT.hold
    assert 5 - verdict.stepped >= 30
    assert verdict.strikes == 2
    assert memory.wanted is Level.HARDWARE


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 9}', "\0" * 99])
def test_an_unreadable_file_is_kept_aside_and_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    memory, problem = store(tmp_path).load(5, 30)
    assert memory is None
    assert "state.json" in problem
    assert (tmp_path / "state.json.unreadable").read_text() == content


def test_a_file_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    memory, problem = store(tmp_path).load(5, 30)
    assert memory is None and "Is a directory" in problem


def test_saving_leaves_no_temporary_file(tmp_path: Path) -> None:
    store(tmp_path).save(Level.HARDWARE, Level.HARDWARE, ())
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
