# SPDX-License-Identifier: GPL-2.0-or-later
"""The methods of a daemon that lives, on a device that does not exist: it changes nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flowguard.kernel import linux
from flowguard.paths import Paths
from flowguard.service.api import PUBLIC, Api
from flowguard.service.control import ApiError, NotKnown
from tests.service.composed import Daemon, Platform, while_running

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
CONFIGURATION = """
config flowguard 'globals'
	option enabled '1'
	list device 'flowguard-none'
"""
NO_NAMES: list[Any] = ["", ["wan"], [], {}, 0, False]
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
    ("forget", {"device": "w" * 300_000}, NotKnown, "nothing is remembered against 'www"),
    *(
        ("forget", {"device": wrong}, ApiError, "device: expected a name, or nothing at all")
        for wrong in NO_NAMES
    ),
]


def write(directory: Path, *options: str) -> None:
    lines = "".join(f"\t{option}\n" for option in options)
    (directory / "flowguard").write_text(CONFIGURATION + lines)


def live(directory: Path, use: Callable[[Api], Awaitable[None]]) -> None:
    file = directory / "flowguard"
    write(directory)
    paths = Paths(str(file), str(directory), str(directory / "control.sock"))

    async def run() -> None:
        with linux.opened() as machine:
            daemon = Daemon(machine, paths, Platform(file=str(file)))
            await while_running(daemon, lambda: use(daemon.api))

    asyncio.run(run())


def test_what_cannot_be_served_is_refused_with_its_kind_and_its_reason(tmp_path: Path) -> None:
    async def use(api: Api) -> None:
        for method, params, kind, text in REFUSED:
            with pytest.raises(ApiError) as caught:
                await api.call(method, params)
            assert type(caught.value) is kind, (method, params)
            assert text in str(caught.value) and len(str(caught.value)) < 300

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


def test_a_reload_takes_rules_and_log_level_and_names_rules_it_cannot_use(tmp_path: Path) -> None:
    async def use(api: Api) -> None:
        write(tmp_path, "option log_level 'error'", "list rules '/nonexistent.toml'")
        (problem,) = (await api.call("reload", {}))["problems"]
        assert (
            problem == "rules: /nonexistent.toml: cannot be read: No such file or directory; "
            "the file is left out"
        )
        assert logging.getLogger().level == logging.ERROR
        write(tmp_path)
        assert (await api.call("reload", {}))["problems"] == []
        assert logging.getLogger().level == logging.INFO

    live(tmp_path, use)


def test_a_level_asked_for_holds_until_the_configuration_wants_another(tmp_path: Path) -> None:
    async def use(api: Api) -> None:
        await api.call("level", {"level": "none"})
        write(tmp_path, "option hold_off '900'")
        await api.call("reload", {})
        assert (await api.call("status", {}))["wanted"] == "none"
        write(tmp_path, "option level 'software'")
        await api.call("reload", {})
        assert (await api.call("status", {}))["wanted"] == "software"

    live(tmp_path, use)


def test_switched_off_it_wants_nothing_whatever_was_asked_for(tmp_path: Path) -> None:
    async def use(api: Api) -> None:
        write(tmp_path, "option level 'none'")
        await api.call("reload", {})
        await api.call("level", {"level": "software"})
        write(tmp_path, "option level 'none'", "option enabled '0'")
        await api.call("reload", {})
        assert (await api.call("status", {}))["wanted"] == "none"

    live(tmp_path, use)


def test_switched_off_and_on_again_it_wants_what_is_configured(tmp_path: Path) -> None:
    async def off(api: Api) -> None:
        write(tmp_path, "option enabled '0'")
        await api.call("reload", {})
        assert (await api.call("status", {}))["wanted"] == "none"

    async def on(api: Api) -> None:
        assert (await api.call("status", {}))["wanted"] == "hardware"

    live(tmp_path, off)
    live(tmp_path, on)
