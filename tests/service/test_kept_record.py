# SPDX-License-Identifier: GPL-2.0-or-later
"""The arms' evidence and the bytes outlive the daemon that found them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.core.arms.detector import Evidence
from flowguard.core.records import replace
from flowguard.core.state import State
from flowguard.kernel.files import LinuxFiles
from flowguard.sensors.byte_counts import Bytes
from flowguard.service.kept_record import SAVE_SECONDS, KeptRecord
from tests.core.arms.test_drops import BAD, judged, row, story


def evidence_in(folder: Path) -> KeptRecord[Evidence]:
    return KeptRecord(LinuxFiles(), str(folder), "evidence.json", Evidence, "the arms' findings")


def suspicious() -> State:
    told = story()
    for _ in range(2):
        judged(told, row(BAD, told.state.epoch))
    assert told.state.detector.value > 0
    return told.state


def test_what_was_saved_is_read_as_it_was(tmp_path: Path) -> None:
    state = suspicious()
    evidence_in(tmp_path).save(state.evidence, state.time)
    assert evidence_in(tmp_path).load() == state.evidence


def test_any_record_can_be_kept(tmp_path: Path) -> None:
    for record in (Bytes(1, 2, 3), Bytes(1 << 60)):
        kept = KeptRecord(LinuxFiles(), str(tmp_path), "bytes.json", Bytes, "the bytes")
        kept.save(record, 0.0)
        assert kept.load() == record


def test_nothing_saved_is_nothing_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert evidence_in(tmp_path).load() is None
    assert not caplog.records


@pytest.mark.parametrize("text", ["", "{", "[]", '{"levels": [], "detector": 3, "mute": {}}'])
def test_an_unreadable_file_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / "evidence.json").write_text(text)
    assert evidence_in(tmp_path).load() is None
    assert "begin anew" in caplog.text


def test_it_is_written_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    file, first = evidence_in(tmp_path), suspicious()
    file.save(first.evidence, first.time)
    told = story()
    judged(told, row(BAD, told.state.epoch))
    second = replace(told.state, time=first.time + SAVE_SECONDS - 1)
    file.save(second.evidence, second.time)
    assert evidence_in(tmp_path).load() == first.evidence
    file.save(second.evidence, second.time, now=True)
    assert evidence_in(tmp_path).load() == second.evidence
    third = replace(first, time=second.time + SAVE_SECONDS)
    file.save(third.evidence, third.time)
    assert evidence_in(tmp_path).load() == third.evidence


def test_a_folder_that_refuses_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "file"
    folder.write_text("in the way")
    evidence_in(folder).save(suspicious().evidence, 0.0)
    assert "cannot be kept" in caplog.text
