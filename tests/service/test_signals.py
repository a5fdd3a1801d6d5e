# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole of the wiring, ended by signals."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flowguard import rules
from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.tables.description import HARDWARE_TABLE
from flowguard.kernel.nftables.changes import Change, DeleteTable
from flowguard.paths import Paths
from flowguard.platform import early
from flowguard.platform.configuration import loading
from flowguard.platform.configuration.loading import Loaded
from flowguard.service import wiring
from tests import virtual_time
from tests.actuators.router import Router, refused
from tests.service.composed import (
    CONFIGURED,
    PATHS,
    memory,
)
from tests.virtual_time import now


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time does not wait for threads."""

    async def at_once(work: Callable[..., Any], /, *given: Any) -> Any:
        return work(*given)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


def serving(tmp_path: Path, router: Router, use: Callable[[], Awaitable[None]]) -> None:
    """The whole of the wiring on this router, through `use`, which has to end it."""
    paths = Paths(None, PATHS.state_directory, str(tmp_path / "control.sock"))

    async def run() -> None:
        loaded, fault_rules = Loaded(CONFIGURED, ()), rules.load_usable(())
        life = asyncio.create_task(wiring.serve(router.machine, paths, loaded, fault_rules, "", 0))
        await use()
        async with asyncio.timeout(60):
            await life

    virtual_time.run(run())


async def ask(tmp_path: Path, method: str, **params: Any) -> dict[str, Any]:
    """The whole reply of the control socket."""
    reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
    writer.write(json.dumps({"method": method, "params": params}).encode() + b"\n")
    reply: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return reply


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(200):
        while not condition():
            await asyncio.sleep(0.1)


def test_a_signal_ends_as_a_stop_does(tmp_path: Path) -> None:
    router = Router()

    async def use() -> None:
        await until(lambda: router.hardware and router.hardware.rules)
        router.flows.offload(3)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: router.hardware is None)

    serving(tmp_path, router, use)
    assert router.software and memory(router)["intent"] is None


def test_ctrl_c_during_a_drain_waits_for_nothing_any_more(tmp_path: Path) -> None:
    router = Router()
    router.flows.leave_after = None

    async def use() -> None:
        await until(lambda: router.hardware and router.hardware.rules)
        router.flows.offload(3)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: router.timeouts.zeroed)
        await asyncio.sleep(5)
        assert (tmp_path / "control.sock").exists()
        os.kill(os.getpid(), signal.SIGTERM)  # procd and systemd send it again unawares.
        await asyncio.sleep(5)
        assert (tmp_path / "control.sock").exists()
        os.kill(os.getpid(), signal.SIGINT)
        before = now()
        await until(lambda: not (tmp_path / "control.sock").exists())
        assert now() - before < 2

    serving(tmp_path, router, use)
    assert router.timeouts.flow_timeouts != [0, 0]
    assert not memory(router)["intent"], "somebody wanted it so"


def test_a_signal_during_a_release_that_fails_ends_by_a_drain(tmp_path: Path) -> None:
    router = Router()
    router.flows.leave_after = 20.0
    refusals: list[Change] = []

    def refuse(change: Change) -> None:
        if change == DeleteTable(HARDWARE_TABLE) and not refusals:
            refusals.append(change)
            raise refused(change, errno.ENOMEM)

    async def use() -> None:
        await until(lambda: router.hardware and router.hardware.rules)
        router.flows.offload(3)
        router.ruleset.refuse = refuse
        release = asyncio.create_task(ask(tmp_path, "stop", release=True))
        await until(lambda: router.timeouts.zeroed)
        os.kill(os.getpid(), signal.SIGTERM)
        assert "the kernel refuses" in (await release)["error"]

    serving(tmp_path, router, use)
    assert refusals and router.hardware is None and router.software


def test_a_configuration_that_changes_before_anybody_listens_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = Router()
    changed = Loaded(replace(CONFIGURED, level=Level.SOFTWARE), ())
    monkeypatch.setattr(early, "_heard", set())
    monkeypatch.setattr(loading, "load", lambda path: changed)

    async def use() -> None:
        await until(lambda: router.software and memory(router)["wanted"] == "software")
        os.kill(os.getpid(), signal.SIGTERM)

    former = signal.signal(signal.SIGHUP, early.note)
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        serving(tmp_path, router, use)
    finally:
        signal.signal(signal.SIGHUP, former)
