# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard stop`: what is asked of the daemon, and that nothing is released beside one."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flowguard.cli import main
from flowguard.cli.stop import release
from flowguard.kernel.machine import Machine
from flowguard.paths import Paths
from flowguard.platform import lock
from flowguard.platform.configuration.loading import Configuration
from flowguard.service import retreat
from flowguard.service.control import LONG_CALL_SECONDS, Unreachable
from tests.packaging.ending import longest_end


@contextmanager
def daemon(path: Path, answer: dict[str, Any] | None) -> Iterator[list[Any]]:
    """Listens on the control socket and notes what it is asked; without an answer it hangs."""
    asked: list[Any] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as lines:
            asked.append(json.loads(lines.readline()))
            if answer is None:
                over.wait()
            else:
                lines.write(json.dumps(answer).encode() + b"\n")

    over = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.settimeout(10)
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        over.set()
        thread.join()


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Stands in for the kernel: for each release of our own, whether the lock was held then."""
    seen: list[bool] = []

    async def note(machine: Machine, paths: Paths) -> list[str]:
        try:
            os.close(lock.take(paths.runtime_directory))
        except lock.AlreadyRunning:
            seen.append(True)
        else:
            seen.append(False)
        return []

    monkeypatch.setattr(retreat, "release", note)
    return seen


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ([], "drain"),
        (["--release"], "release"),
        (["--keep"], "keep"),
        (["--reboot"], "reboot"),
    ],
)
def test_the_daemon_is_told_what_becomes_of_hardware(
    tmp_path: Path, words: list[str], how: str
) -> None:
    path = tmp_path / "s"
    with daemon(path, {"result": {"left_in_hardware": []}}) as asked:
        assert main(["stop", *words, "--socket", str(path)]) == 0
    assert asked == [{"method": "stop", "params": {"how": how}}]


def test_flows_that_are_left_in_hardware_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s"
    with daemon(path, {"result": {"left_in_hardware": ["tcp a:1 -> b:2"]}}):
        assert main(["stop", "--socket", str(path)]) == 1
    assert capsys.readouterr().err == "flowguard: stop: still in hardware: tcp a:1 -> b:2\n"


def test_what_the_daemon_refuses_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], released: list[bool]
) -> None:
    path = tmp_path / "s"
    with daemon(path, {"error": "the kernel refuses"}):
        assert main(["stop", "--release", "--socket", str(path)]) == 1
    assert capsys.readouterr().err == "flowguard: stop: the kernel refuses\n"
    assert not released


@pytest.mark.parametrize("found", [True, False])
def test_without_a_daemon_hardware_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    seen: list[bool] = []

    async def note(machine: Machine, configuration: Configuration, paths: Paths) -> bool:
        with pytest.raises(lock.AlreadyRunning):
            lock.take(paths.runtime_directory)
        seen.append(found)
        return found

    monkeypatch.setattr(retreat, "drain_to_software", note)
    # Nothing to leave: then it is only that no daemon could be told.
    assert main(["stop", "--socket", str(tmp_path / "s")]) == (0 if found else 3)
    assert seen == [found]


def test_hardware_is_not_left_beside_a_daemon_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(retreat, "drain_to_software")
    held = lock.take(str(tmp_path))
    assert main(["stop", "--socket", str(tmp_path / "s")]) == 3
    os.close(held)


def paths(socket: Path) -> Paths:
    return Paths(None, str(socket.parent), str(socket))


def test_a_drain_is_waited_for() -> None:
    assert longest_end() < LONG_CALL_SECONDS


def test_only_one_end_can_be_asked_for() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["stop", "--keep", "--release"])
    assert ended.value.code == 2


def test_without_a_daemon_everything_is_released_with_the_lock_in_hand(
    tmp_path: Path, released: list[bool]
) -> None:
    assert main(["stop", "--release", "--socket", str(tmp_path / "s")]) == 0
    assert released == [True]


def test_a_daemon_that_starts_is_waited_for_and_asked(
    tmp_path: Path, released: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    held = lock.take(str(tmp_path))
    done: list[list[str]] = []
    waiting = threading.Event()
    monkeypatch.setattr("flowguard.cli.stop.time.sleep", lambda seconds: waiting.set())
    asking = threading.Thread(target=lambda: done.append(release(paths(path))))
    asking.start()
    assert waiting.wait(10)
    with daemon(path, {"result": {"left_in_hardware": []}}) as asked:
        asking.join()
    os.close(held)
    assert [request["params"] for request in asked] == [{"how": "release"}]
    assert (done, released) == ([[]], [])


def test_one_that_ends_without_answering_leaves_the_release_to_us(
    tmp_path: Path, released: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [lock.take(str(tmp_path))]
    monkeypatch.setattr("flowguard.cli.stop.time.sleep", lambda seconds: os.close(held.pop()))
    assert release(paths(tmp_path / "s")) == []
    assert released == [True]


def test_one_that_never_listens_is_not_released_beside(
    tmp_path: Path, released: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    held = lock.take(str(tmp_path))
    with pytest.raises(Unreachable, match=rf"process {os.getpid()}\), but it does not listen"):
        release(paths(tmp_path / "s"), seconds=0)
    os.close(held)
    assert not released


def test_one_that_hangs_must_not_keep_its_hardware(
    tmp_path: Path, released: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s"
    held = lock.take(str(tmp_path))
    with daemon(path, None):
        assert release(paths(path), seconds=0.05) == []
    os.close(held)
    assert released == [True]
    (line,) = capsys.readouterr().err.splitlines()
    assert "does flowguard hang? Everything is released beside it" in line
