# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole of the wiring, ended by signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flowguard import rules
from flowguard.paths import Paths
from flowguard.platform.configuration.loading import Loaded
from flowguard.service import wiring
from tests import virtual_time
from tests.actuators.router import Router
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
