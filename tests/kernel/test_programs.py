# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs, run for real."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from flowguard.kernel.machine import Ended
from flowguard.kernel.programs import LinuxPrograms
from tests.ubus.test_connection import until

CLEAN = {"PATH": "/usr/bin:/bin"}


def run(script: str, *, seconds: float = 20, most: int = 100) -> Ended:
    words = ["/bin/sh", "-c", script]
    return asyncio.run(LinuxPrograms().run(words, CLEAN, seconds=seconds, most=most))


def test_status_and_all_that_was_printed() -> None:
    assert run("echo out; echo err >&2; exit 3") == Ended(3, b"out\nerr\n")


def test_the_environment_is_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert run('echo "$PATH $SECRET."').output == b"/usr/bin:/bin .\n"


def test_only_the_first_of_what_is_printed_is_kept() -> None:
    assert run("yes | head -c 1000000", most=5) == Ended(0, b"y\ny\ny")


def test_what_is_not_there_cannot_be_run() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(LinuxPrograms().run(["/nonexistent"], CLEAN, seconds=1, most=1))


def test_what_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    script = f"trap '' TERM; echo early; sleep 1000 & echo $! >{tmp_path}/child; wait"
    assert run(script, seconds=0.5) == Ended(None, b"early\n")
    assert not alive(int((tmp_path / "child").read_text()))


def test_what_it_leaves_in_the_background_holds_up_nothing(tmp_path: Path) -> None:
    assert run(f"sleep 1000 & echo $! >{tmp_path}/child").status == 0
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_it_is_killed_when_nobody_waits_any_more(tmp_path: Path) -> None:
    script = f"echo $$ >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 1000"

    async def cancelled() -> None:
        words = ["/bin/sh", "-c", script]
        task = asyncio.create_task(LinuxPrograms().run(words, CLEAN, seconds=1000, most=1))
        await until((tmp_path / "pid").exists)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(cancelled())
    assert not alive(int((tmp_path / "pid").read_text()))


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
