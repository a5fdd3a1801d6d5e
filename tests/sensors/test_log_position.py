# SPDX-License-Identifier: GPL-2.0-or-later
"""A restarted daemon goes on where the last one was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowguard.sensors.log_position import KmsgPosition, newest_sequence


@contextmanager
def kernel_log(directory: Path, *records: str) -> Iterator[str]:
    """A FIFO that holds records; a reader gets one or more of them a read, in order."""
    path = directory / "log"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    try:
        for record in records:
            os.write(writer, record.encode())
        yield str(path)
    finally:
        os.close(writer)


def test_the_first_start_of_a_boot_goes_on_after_the_newest_record(tmp_path: Path) -> None:
    with kernel_log(tmp_path, "6,41,1000,-;old fault\n") as path:
        assert KmsgPosition(str(tmp_path), path).load() == 41
        # Remembered at once: a daemon killed before its first record has been here.
        assert KmsgPosition(str(tmp_path), path).load() == 41


def test_a_restart_goes_on_where_the_last_daemon_was(tmp_path: Path) -> None:
    with kernel_log(tmp_path, "6,41,1000,-;old\n") as path:
        position = KmsgPosition(str(tmp_path), path)
        position.load()
        position.save(77)
        assert KmsgPosition(str(tmp_path), path).load() == 77


def test_an_empty_log_has_no_newest_record(tmp_path: Path) -> None:
    with kernel_log(tmp_path) as path:
        assert newest_sequence(path) is None


def test_a_damaged_position_counts_as_a_first_start(tmp_path: Path) -> None:
    (tmp_path / "kmsg").write_text("not a number")
    with kernel_log(tmp_path, "6,5,1,-;x\n") as path:
        assert KmsgPosition(str(tmp_path), path).load() == 5
