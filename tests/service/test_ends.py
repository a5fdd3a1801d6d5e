# SPDX-License-Identifier: GPL-2.0-or-later
"""Two want the end at once, as procd by its signal and the command of a disabled service."""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.kernel.nftables.changes import Change, CreateTable
from flowguard.kernel.nftables.ruleset import TablesState
from flowguard.paths import Paths
from flowguard.platform.configuration.loading import Loaded
from flowguard.platform.configuration.options import Configuration
from flowguard.service.running import END_DRAIN_SECONDS, END_MARGIN, End
from tests import virtual_time
from tests.actuators.router import LAN, WAN, Router, refused
from tests.service.composed import Daemon, Platform, while_running
from tests.virtual_time import now

CONFIGURATION = Configuration(enabled=True, device=(LAN, WAN), boot_delay=0)
SECONDS = 120


def live(
    directory: Path,
    use: Callable[[Daemon, Router], Awaitable[None]],
    configuration: Configuration = CONFIGURATION,
) -> Router:
    """A daemon on hardware with connections there."""
    router = Router()
    paths = Paths(None, str(directory), str(directory / "control.sock"))

    async def run() -> None:
        daemon = Daemon(router.machine, paths, Platform(Loaded(configuration, ())))

        async def used() -> None:
            async with asyncio.timeout(SECONDS):
                while daemon.service.state.level is not Level.HARDWARE:
                    await asyncio.sleep(1)
            router.flows.offload(3)
            await use(daemon, router)

        await while_running(daemon, used)

    virtual_time.run(run())
    return router


@pytest.mark.parametrize("first", [End.DRAIN, End.RELEASE])
def test_a_release_that_comes_in_a_drain_still_leaves_nothing(tmp_path: Path, first: End) -> None:
    second = End.RELEASE if first is End.DRAIN else End.DRAIN

    async def use(daemon: Daemon, router: Router) -> None:
        one = asyncio.create_task(daemon.api.call("stop", {"how": first}))
        await asyncio.sleep(1)
        assert router.hardware, "the drain takes longer"
        answers = [await daemon.api.call("stop", {"how": second}), await one]
        assert answers == [{"left_in_hardware": []}] * 2

    router = live(tmp_path, use)
    assert (router.hardware, router.software) == (None, None)


def test_a_drain_alone_leaves_the_software_level(tmp_path: Path) -> None:
    async def use(daemon: Daemon, router: Router) -> None:
        await daemon.api.call("stop", {"how": End.DRAIN})

    router = live(tmp_path, use)
    assert router.hardware is None and router.software is not None


def test_a_stop_that_the_kernel_refuses_for_a_moment_still_leaves_hardware(tmp_path: Path) -> None:
    async def use(daemon: Daemon, router: Router) -> None:
        refusals = iter(range(10))

        def refuse(change: Change) -> None:
            if next(refusals, None) is not None:
                raise refused(change, errno.ENOMEM)

        router.ruleset.refuse = refuse
        await daemon.running.end_anyway(End.DRAIN)

    router = live(tmp_path, use)
    assert router.hardware is None and router.software is not None


@pytest.mark.parametrize("failing", range(8))
def test_one_look_at_the_tables_that_fails_keeps_nothing_in_hardware(
    tmp_path: Path, failing: int
) -> None:
    async def use(daemon: Daemon, router: Router) -> None:
        read, looks = router.ruleset.read, itertools.count()

        async def fail_once() -> TablesState:
            if next(looks) == failing:
                raise OSError(errno.EINTR, "Interrupted system call")
            return await read()

        router.ruleset.read = fail_once  # type: ignore[method-assign]
        assert await daemon.api.call("stop", {}) == {"left_in_hardware": []}
        assert router.hardware is None and router.software is not None

    live(tmp_path, use)


@pytest.mark.parametrize("refusals", [1, 2, 3])
def test_a_few_refusals_keep_nothing_in_hardware(tmp_path: Path, refusals: int) -> None:
    async def use(daemon: Daemon, router: Router) -> None:
        asked = itertools.count()

        def refuse(change: Change) -> None:
            if next(asked) < refusals:
                raise refused(change, errno.ENOMEM)

        router.ruleset.refuse = refuse
        assert await daemon.api.call("stop", {}) == {"left_in_hardware": []}
        assert router.hardware is None and router.software is not None

    live(tmp_path, use)


@pytest.mark.parametrize("drain_limit", [60, 600])
def test_a_stop_tells_what_would_not_leave_hardware_and_does_not_wait_for_ever(
    tmp_path: Path, drain_limit: int
) -> None:
    async def use(daemon: Daemon, router: Router) -> None:
        router.flows.leave_after = None
        before = now()
        answer = await daemon.api.call("stop", {})
        assert now() - before <= min(drain_limit, END_DRAIN_SECONDS) + END_MARGIN
        assert len(answer["left_in_hardware"]) == 3
        assert router.hardware and not router.hardware.rules

    live(tmp_path, use, replace(CONFIGURATION, drain_limit=drain_limit))


def refuse_software(router: Router) -> None:
    def refuse(change: Change) -> None:
        if isinstance(change, CreateTable) and not change.table.hardware:
            raise refused(change, errno.ENOENT)

    router.ruleset.refuse = refuse


def test_hardware_that_was_drained_is_left_whatever_is_refused_after_it(tmp_path: Path) -> None:
    async def use(daemon: Daemon, router: Router) -> None:
        refuse_software(router)
        before = now()
        assert await daemon.api.call("stop", {}) == {"left_in_hardware": []}
        assert now() - before < END_DRAIN_SECONDS
        assert router.hardware is None or not router.hardware.rules

    live(tmp_path, use)


def test_nothing_goes_up_again_behind_an_end_that_cannot_be_had(tmp_path: Path) -> None:
    async def use(daemon: Daemon, router: Router) -> None:
        async def unreadable() -> TablesState:
            raise OSError(errno.EINTR, "Interrupted system call")

        router.ruleset.read = unreadable  # type: ignore[method-assign]
        await daemon.running.end_anyway(End.DRAIN)
        assert daemon.service.state.target is not Level.HARDWARE
        assert daemon.service.state.armed, "what goes on in hardware is remembered"

    live(tmp_path, use)
