# SPDX-License-Identifier: GPL-2.0-or-later
"""What a start says in the log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.platform.configuration.loading import Configuration
from flowguard.service.greeting import greet
from tests.actuators.router import WAN, Router
from tests.service.composed import CONFIGURED, Home, at_home

SOFTWARE = Level.SOFTWARE


def greeting(
    caplog: pytest.LogCaptureFixture, configuration: Configuration, **how: Any
) -> list[str]:
    """What is said after the start, by `greet`."""
    caplog.set_level(logging.INFO, logger=greet.__module__)

    async def use(home: Home) -> None:
        await asyncio.sleep(1)

    at_home(use, configuration=configuration, **how)
    return [r.getMessage() for r in caplog.records if r.name == greet.__module__]


def test_a_start_says_what_there_is(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = greeting(caplog, CONFIGURED)
    assert line.startswith("version ") and line.endswith("up to level hardware on lan1, wan")


def test_a_start_without_a_device_says_so_and_what_would_mend_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, *rest = greeting(caplog, replace(CONFIGURED, device=("eth7",)))
    assert first.endswith("up to level hardware on no device")
    assert rest[0].startswith("device eth7 does not exist")
    assert "uci add_list flowguard.globals.device" in rest[1]


def test_a_start_names_each_device_that_cannot_do_what_is_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = Router()
    router.network.features[WAN] = False
    _, line = greeting(caplog, CONFIGURED, router=router)
    assert line.startswith("wan stays in software: ") and "hw-tc-offload" in line
    caplog.clear()
    router = Router()
    router.network.features[WAN] = False
    assert len(greeting(caplog, replace(CONFIGURED, level=SOFTWARE), router=router)) == 1
