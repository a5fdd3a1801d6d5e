# SPDX-License-Identifier: GPL-2.0-or-later
"""What must survive, what must not be read by others, and who must not wait for flash."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from flowguard.kernel.files import LinuxFiles
from tests.crashing import Disk, PowerCut, stored


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read_and_only_root_may(tmp_path: Path) -> None:
    files, path = LinuxFiles(), tmp_path / "new" / "file"
    files.replace(str(path), "é\n")
    assert (files.read(str(path)), mode(path)) == ("é\n", 0o600)
    asyncio.run(files.keep(str(path), "kept"))
    assert (files.read(str(path)), mode(path)) == ("kept", 0o600)
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_appending_tells_the_size_and_shuts_out_who_could_read_it_before(tmp_path: Path) -> None:
    files, path = LinuxFiles(), tmp_path / "new" / "events"
    assert files.append(str(path), "é\n") == 3
    path.chmod(0o644)
    assert files.append(str(path), "b\n") == 5
    assert (files.read(str(path)), mode(path)) == ("é\nb\n", 0o600)


def test_names(tmp_path: Path) -> None:
    files, one, other = LinuxFiles(), str(tmp_path / "one"), str(tmp_path / "other")
    files.replace(one, "1")
    files.replace(other, "2")
    files.rename(one, other)
    assert (files.exists(one), files.exists(other), files.read(other)) == (False, True, "1")
    files.remove(other)
    files.remove(other)
    with pytest.raises(FileNotFoundError):
        files.read(other)


def test_what_is_no_text_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="decode"):
        LinuxFiles().read(str(tmp_path / "file"))


@pytest.mark.parametrize("fails_at", range(12))
def test_the_power_may_fail_at_any_moment(tmp_path: Path, fails_at: int) -> None:
    path = str(tmp_path / "state")
    disk = stored(path, b"old")
    disk.fails_at = fails_at
    try:
        asyncio.run(LinuxFiles(disk).keep(path, "new!"))
    except PowerCut:
        allowed = {b"old", b"new!"}
    else:
        allowed = {b"new!"}
    assert {content[path] for content in disk.after_the_cut()} <= allowed


def test_a_loss_of_power_is_enumerated_to_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    disk = stored(path, b"old")
    asyncio.run(LinuxFiles(disk).keep(path, "new!"))
    assert disk.operations <= 12


class SlowFlash:
    """The module os; fsync takes until it is told to end, and says whether anybody waits."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.under_way = 0
        self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.asked.release()
        assert self.done.acquire(timeout=20)
        self.under_way -= 1


async def on_flash(flash: SlowFlash) -> None:
    """Wait, with the loop running, until somebody waits for the flash."""
    await asyncio.to_thread(flash.asked.acquire)


def test_the_loop_does_not_wait_for_flash(tmp_path: Path) -> None:
    flash = SlowFlash()

    async def run() -> None:
        keeping = asyncio.create_task(LinuxFiles(flash).keep(str(tmp_path / "file"), "text"))
        await on_flash(flash)
        assert not (tmp_path / "file").exists()
        flash.done.release()
        await on_flash(flash)
        assert not keeping.done()  # The name is not on the medium yet.
        flash.done.release()
        await keeping

    asyncio.run(run())
    assert (tmp_path / "file").read_text() == "text"


def test_the_last_one_wins_also_when_nobody_waits_for_the_first(tmp_path: Path) -> None:
    flash = SlowFlash()
    path = str(tmp_path / "file")
    # A thread of the test before may not have ended yet.
    others = {*threading.enumerate()}

    async def run() -> None:
        files = LinuxFiles(flash)
        first = asyncio.create_task(files.keep(path, "first"))
        await on_flash(flash)
        first.cancel()
        second = asyncio.create_task(files.keep(path, "second"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert [t.name for t in {*threading.enumerate()} - others].count("keep") == 1
        for _ in range(4):
            flash.done.release()
        await second

    asyncio.run(run())
    assert flash.most == 1
    assert (tmp_path / "file").read_text() == "second"


def test_tmpfs_is_not_waited_for(tmp_path: Path) -> None:
    disk = Disk(fsyncs_work=False)
    LinuxFiles(disk).replace(str(tmp_path / "file"), "text")
    flash = SlowFlash()  # Its fsync would never end.
    LinuxFiles(flash).replace(str(tmp_path / "file"), "text")
    assert (tmp_path / "file").read_text() == "text"


def test_a_new_name_shuts_out_who_could_read_the_file_before(tmp_path: Path) -> None:
    path, to = tmp_path / "events", tmp_path / "events.1"
    path.touch(0o644)  # As a version before left it.
    path.chmod(0o644)
    LinuxFiles().rename(str(path), str(to))
    assert mode(to) == 0o600


def test_what_is_no_utf8_is_read_as_escapes_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"J\xfcrgen\n")
    assert LinuxFiles().read_escaped(str(path)) == "J\udcfcrgen\n"
    with pytest.raises(ValueError, match="utf-8"):
        LinuxFiles().read(str(path))
