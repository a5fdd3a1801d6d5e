# SPDX-License-Identifier: GPL-2.0-or-later
"""The previous boot's kernel messages, from a reader that behaves as systemd-python's."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowguard.platform.systemd import journal

NOW, BEFORE, LONG_AGO = (UUID(int=number) for number in (3, 2, 1))


class Reader:
    """Entries in order of time, read from the end."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self._left = list(entries)
        self.matches: dict[str, str] = {}
        self.closed = False

    def add_match(self, **matches: str) -> None:
        self.matches |= matches

    def seek_tail(self) -> None:
        pass

    def get_previous(self) -> dict[str, Any]:
        return self._left.pop() if self._left else {}

    def close(self) -> None:
        self.closed = True


def entry(boot: UUID, message: str | bytes, time: float | None = None) -> dict[str, Any]:
    stamp = {} if time is None else {"_SOURCE_MONOTONIC_TIMESTAMP": timedelta(seconds=time)}
    return {"_BOOT_ID": boot, "MESSAGE": message, **stamp}


def test_the_boot_before_this_one(tmp_path: Path) -> None:
    reader = Reader(
        [
            entry(LONG_AGO, "old", 9.0),
            entry(BEFORE, "a", 1.5),
            entry(BEFORE, b"b\xff", 2.5),
            entry(BEFORE, "c"),
            entry(NOW, "new", 0.1),
        ]
    )
    found = journal.previous_boot(str(NOW), str(tmp_path), lambda: reader)
    assert found.boot_id == BEFORE.hex
    assert [(r.text, r.time) for r in found.records] == [("a", 1.5), ("b\ufffd", 2.5), ("c", None)]
    assert reader.matches == {"_TRANSPORT": "kernel"}
    assert reader.closed


def test_only_the_end_of_a_long_log(tmp_path: Path) -> None:
    entries = [entry(BEFORE, str(number)) for number in range(journal.LINES + 10)]
    found = journal.previous_boot(str(NOW), str(tmp_path), lambda: Reader(entries))
    assert len(found.records) == journal.LINES
    assert found.records[-1].text == str(journal.LINES + 9)


def test_no_earlier_boot(tmp_path: Path) -> None:
    with pytest.raises(journal.NoJournal, match="no earlier boot"):
        journal.previous_boot(str(NOW), str(tmp_path), lambda: Reader([entry(NOW, "x")]))


def test_no_systemd(tmp_path: Path) -> None:
    with pytest.raises(journal.NoJournal, match="no systemd"):
        journal.previous_boot(str(NOW), str(tmp_path / "gone"))
