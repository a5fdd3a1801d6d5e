# SPDX-License-Identifier: GPL-2.0-or-later
"""A changed configuration comes to the kernel, whatever else happens meanwhile."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.core.tables.plan import plan
from flowguard.kernel.nftables.ruleset import wanted_state
from flowguard.platform.configuration.loading import Loaded
from tests.service.composed import CONFIGURED, Home, at_home

SOFTWARE, NONE = Level.SOFTWARE, Level.NONE


def test_of_two_reloads_at_once_the_newer_file_wins() -> None:
    async def use(home: Home) -> None:
        seconds = [10.0, 0.0]  # The older file takes longer to read.

        async def load() -> Loaded:
            found = home.platform.loaded
            await asyncio.sleep(seconds.pop(0))
            return found

        home.service.surroundings = replace(home.service.surroundings, load=load)
        home.platform.configure(replace(CONFIGURED, level=SOFTWARE))
        older = asyncio.create_task(home.running.reload())
        await asyncio.sleep(1)
        home.platform.configure(replace(CONFIGURED, level=NONE))
        await asyncio.gather(older, home.running.reload())
        assert home.service.state.wanted is NONE
        assert home.service.configuration.level is NONE

    at_home(use)


def test_devices_that_cannot_be_looked_at_keep_no_rule_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def use(home: Home) -> None:
        await home.settled()
        router, looks = home.router, list[tuple[Any, ...]]()
        scan = router.network.scan

        async def fail_once(*given: Any) -> Any:
            looks.append(given)
            if len(looks) == 1:
                raise OSError(errno.EINTR, "Interrupted system call")
            return await scan(*given)

        monkeypatch.setattr(router.network, "scan", fail_once)
        new = replace(CONFIGURED, udp=False)
        home.platform.configure(new)
        await home.running.reload()
        await home.settled()
        state = home.service.state
        wanted = plan(state.devices, dict(state.levels), new.offload_settings, state.draw)
        assert router.ruleset.state == wanted_state(wanted)
        assert len(looks) == 2, "and they are looked at again"

    at_home(use)


def test_another_flow_timeout_alone_reaches_the_kernel() -> None:
    async def use(home: Home) -> None:
        await home.settled()
        home.platform.configure(replace(CONFIGURED, flow_timeout=99))
        await home.running.reload()
        await home.settled()
        assert home.router.timeouts.flow_timeouts == [99, 99]

    at_home(use)
