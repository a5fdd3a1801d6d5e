# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket from the outside: lines in, lines out."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowguard.service.control import ApiError, NoAnswer, Unreachable, request
from flowguard.service.control_server import ControlServer

T = TypeVar("T")


async def call(method: str, params: dict[str, Any]) -> Any:
    if method == "echo":
        return params
    if method == "crash":
        raise RuntimeError("boom")
    raise ApiError(f"unknown method {method!r}")


def served(path: Path, use: Callable[[str], Awaitable[T]]) -> T:
    async def run() -> T:
        server = ControlServer(str(path), call)
        await server.start()
        try:
            return await use(str(path))
        finally:
            server.close()

    return asyncio.run(run())


def test_one_request_one_reply(tmp_path: Path) -> None:
    async def use(path: str) -> Any:
        return await asyncio.to_thread(request, path, "echo", {"a": [1, None, "ü"]})

    assert served(tmp_path / "s", use) == {"a": [1, None, "ü"]}


@pytest.mark.parametrize(("method", "text"), [("nope", "unknown method"), ("crash", "boom")])
def test_a_refused_or_failed_request_is_an_error_and_serving_goes_on(
    tmp_path: Path, method: str, text: str
) -> None:
    async def use(path: str) -> Any:
        with pytest.raises(ApiError, match=text):
            await asyncio.to_thread(request, path, method)
        return await asyncio.to_thread(request, path, "echo", {"still": "here"})

    assert served(tmp_path / "s", use) == {"still": "here"}


def test_only_root_can_open_it_and_it_is_gone_afterwards(tmp_path: Path) -> None:
    async def use(path: str) -> int:
        return Path(path).stat().st_mode

    mode = served(tmp_path / "folder" / "s", use)
    assert stat.S_IMODE(mode) == 0o600
    assert not (tmp_path / "folder" / "s").exists()


def test_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("left over")

    async def use(path: str) -> Any:
        return await asyncio.to_thread(request, path, "echo", {})

    assert served(tmp_path / "s", use) == {}


def test_nobody_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="is flowguard running"):
        request(str(tmp_path / "s"), "status")


def test_a_daemon_that_hangs_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(NoAnswer, match=r"no answer in 0\.1 s; does flowguard hang"):
            request(str(tmp_path / "s"), "status", seconds=0.1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(min_size=1, max_size=200).filter(lambda b: b"\n" not in b))
def test_garbage_is_answered_and_does_not_end_the_service(tmp_path: Path, line: bytes) -> None:
    async def use(path: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line + b"\n")
        reply = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return reply

    assert "error" in json.loads(served(tmp_path / "s", use))
