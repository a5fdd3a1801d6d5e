# SPDX-License-Identifier: GPL-2.0-or-later
"""fw4's files in a root built for the test, its lock held as fw4's script holds it."""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path

import pytest

from flowguard.platform.openwrt import firewall4
from flowguard.platform.openwrt.firewall4 import Firewall4


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A router whose firewall has been started."""
    monkeypatch.setattr(firewall4, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(firewall4, "STARTED_POLL", 0.01)
    for file in ("sbin/fw4", "var/run/fw4.lock", "var/run/fw4.state"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return tmp_path


def is_stopped(root: Path) -> bool:
    return asyncio.run(Firewall4(str(root)).is_stopped())


def test_a_running_firewall_is_not_stopped(root: Path) -> None:
    assert not is_stopped(root)


@pytest.mark.parametrize("locked_before", [True, False])
def test_a_flush_removes_the_state(root: Path, locked_before: bool) -> None:
    (root / "var/run/fw4.state").unlink()
    if not locked_before:
        (root / "var/run/fw4.lock").unlink()
    assert is_stopped(root)


def test_without_fw4_nothing_is_stopped(root: Path) -> None:
    (root / "sbin/fw4").unlink()
    (root / "var/run/fw4.state").unlink()
    assert not is_stopped(root)


def test_a_flush_under_way_is_waited_for(root: Path) -> None:
    async def flush() -> bool:
        with (root / "var/run/fw4.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            asked = asyncio.create_task(Firewall4(str(root)).is_stopped())
            await asyncio.wait([asked], timeout=0.05)
            assert not asked.done()
            (root / "var/run/fw4.state").unlink()
        return await asked

    assert asyncio.run(flush())


def test_a_lock_that_is_never_released_is_not_waited_for_without_end(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firewall4, "LOCK_LIMIT", 0.05)
    with (root / "var/run/fw4.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not is_stopped(root)


def test_the_start_is_noticed(root: Path) -> None:
    state = root / "var/run/fw4.state"
    state.unlink()

    async def start() -> None:
        waiting = asyncio.create_task(Firewall4(str(root)).started())
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
        state.touch()
        async with asyncio.timeout(5):
            await waiting

    asyncio.run(start())
