# SPDX-License-Identifier: GPL-2.0-or-later
"""The methods of a daemon that lives, on a device that does not exist: it changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flowguard import rules
from flowguard.api import PUBLIC, Api
from flowguard.host import configuration
from flowguard.host.control import ApiError, NotKnown
from flowguard.paths import Paths
from flowguard.service import Service

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
CONFIGURATION = """
config flowguard 'globals'
	option enabled '1'
	list device 'flowguard-none'
"""
REFUSED: list[tuple[str, dict[str, Any], type[ApiError], str]] = [
    ("nonsense", {}, ApiError, "unknown method 'nonsense'; known: status, "),
    ("flows", {"limit": 0}, ApiError, "limit: expected a number from 1 to 1000"),
    ("flows", {"limit": "many"}, ApiError, "limit: expected a number"),
    ("decisions", {"limit": True}, ApiError, "limit: expected a number"),
    ("level", {}, ApiError, "level: expected one of hardware, software, none"),
    ("level", {"level": 1}, ApiError, "level: expected one of"),
    ("hold", {}, ApiError, "seconds: expected a number from 0 to "),
    ("hold", {"seconds": -1}, ApiError, "seconds: expected"),
    ("forget", {"device": "wan"}, NotKnown, "nothing is remembered against 'wan'"),
    ("forget", {"device": ["wan"]}, NotKnown, "nothing is remembered against"),
]


def live(directory: Path, use: Callable[[Api], Awaitable[None]]) -> None:
    file = directory / "flowguard"
    file.write_text(CONFIGURATION)
    paths = Paths(str(file), str(directory), str(directory / "control.sock"))

    async def run() -> None:
        service = Service(paths, configuration.load(str(file)), rules.load(()))
        api = Api(service)
        life = asyncio.create_task(service.run(api.call))
        while not (directory / "control.sock").exists() and not life.done():
            await asyncio.sleep(0.001)
        try:
            await use(api)
        finally:
            service.stop()
            await life

    asyncio.run(run())


def test_what_cannot_be_served_is_refused_with_its_kind_and_its_reason(tmp_path: Path) -> None:
    async def use(api: Api) -> None:
        for method, params, kind, text in REFUSED:
            with pytest.raises(ApiError) as caught:
                await api.call(method, params)
            assert type(caught.value) is kind, (method, params)
            assert text in str(caught.value)

    live(tmp_path, use)


def test_every_method_answers_and_extra_arguments_are_ignored(tmp_path: Path) -> None:
    arguments: dict[str, dict[str, Any]] = {"level": {"level": "software"}, "hold": {"seconds": 60}}

    async def use(api: Api) -> None:
        for method in PUBLIC:
            given = {**arguments.get(method, {}), "ubus_rpc_session": "0" * 32}
            json.dumps(await api.call(method, given))
        status = await api.call("status", {})
        assert status["held_until"] and not status["suspended"]
        assert status["missing_devices"] == ["flowguard-none"]

    live(tmp_path, use)
