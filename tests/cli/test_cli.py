# SPDX-License-Identifier: GPL-2.0-or-later
"""The program as a shell sees it: output, errors in one line, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowguard import __version__
from flowguard.cli.run import as_supervised
from flowguard.core.events import DevicesChanged, Event, FaultSeen, Started
from flowguard.core.model import Attribution, Device, Fault, FaultClass, Level
from flowguard.core.replay import encode_event
from flowguard.platform.lock import take
from flowguard.service.control_server import ControlServer

DAEMON = Path(__file__).resolve().parents[2] / "daemon"
FAULT = Fault("tx-timeout", FaultClass.TX_TIMEOUT, Attribution.DRIVER, "wan", None, "the line")
EVENTS: list[Event] = [
    Started(100, Level.HARDWARE),
    DevicesChanged(100, (Device("wan", 2, hardware_capable=True),)),
    FaultSeen(200, FAULT),
]


def flowguard(
    *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowguard", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(DAEMON), **environment},
    )


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_the_version_is_printed(words: list[str]) -> None:
    done = flowguard(*words)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize("name", ["run", "status", "flows", "level", "plain", "hold"])
def test_asking_needs_no_asyncio_and_the_daemon_leaves_tls_out_before_it(name: str) -> None:
    code = f"import sys, flowguard.cli, flowguard.cli.{name}; sys.exit('asyncio' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(DAEMON)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_the_daemon_leaves_out_what_it_has_no_use_for() -> None:
    code = (
        "import sys; from flowguard.cli.run import as_supervised; import flowguard.service.life;"
        "assert as_supervised(['--state-dir', '/s', '--config', '/c']).state_directory == '/s';"
        "print({'argparse', 'dataclasses', 'ipaddress', 'shutil'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(DAEMON)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout == b"set()\n", done.stderr.decode()


@pytest.mark.parametrize(
    "words", [["--config=/c"], ["--config"], ["--state-dir", "--socket"], ["--colour", "red"]]
)
def test_what_is_not_plainly_written_is_left_to_argparse(words: list[str]) -> None:
    assert as_supervised(words) is None


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["level", "fast"], ["status", "--colour"], ["run", "--state-dir"]]
)
def test_wrong_usage_is_2(words: list[str]) -> None:
    done = flowguard(*words)
    assert done.returncode == 2
    assert "usage:" in done.stderr


@pytest.mark.parametrize("words", [["status"], ["level", "none"], ["stop"]])
def test_no_daemon_is_3_and_one_line(words: list[str], tmp_path: Path) -> None:
    done = flowguard(*words, "--socket", str(tmp_path / "none"))
    assert done.returncode == 3
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("flowguard: ") and "is flowguard running?" in line


def test_a_daemon_that_is_not_there_has_a_reason_and_a_remedy() -> None:
    done = flowguard("status")
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("flowguard: not ") and "No such file" not in line.partition(": ")[0]


def test_replay_prints_the_decisions_one_object_a_line() -> None:
    done = flowguard("replay", "-", stdin="\n".join(map(encode_event, EVENTS)))
    assert done.returncode == 0, done.stderr
    up, down = map(json.loads, done.stdout.splitlines())
    assert (up["from"], up["to"]) == ("none", "hardware")
    assert (down["device"], down["to"], down["evidence"]) == ("wan", "software", "the line")


@pytest.mark.parametrize("words", [["version"], ["replay", "-"]])
def test_output_that_nobody_reads_to_its_end_is_no_error(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as unread:
        done = subprocess.run(
            [sys.executable, "-m", "flowguard", *words],
            input="\n".join(map(encode_event, EVENTS)),
            stdout=unread,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(DAEMON)},
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_replay_names_the_line_that_is_no_event(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text(encode_event(EVENTS[0]) + '\n{"event": "Nonsense"}\n')
    done = flowguard("replay", str(log))
    assert done.returncode == 2
    assert f"{log}: line 2: not an event" in done.stderr


def test_replay_of_a_missing_file_is_one_line() -> None:
    done = flowguard("replay", "/nonexistent")
    assert (done.returncode, done.stderr) == (
        2,
        "flowguard: /nonexistent: No such file or directory\n",
    )


def run(
    directory: Path, configuration: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`flowguard run` with this configuration and its socket in this directory."""
    if os.geteuid() != 0:
        pytest.skip("only root gets as far as the configuration")
    file = directory / "flowguard"
    file.write_text(configuration)
    words = ("run", "--config", str(file), "--socket", str(directory / "s"))
    return flowguard(*words, **environment)


def test_a_configuration_that_is_not_enabled_does_not_run(tmp_path: Path) -> None:
    done = run(tmp_path, "config flowguard 'globals'\n\toption enabled '0'\n")
    assert done.returncode == 0
    assert "not enabled" in done.stderr


def test_a_damaged_configuration_does_not_run_and_says_why(tmp_path: Path) -> None:
    done = run(tmp_path, "config flowguard 'glob")
    assert done.returncode == 2
    assert "flowguard:1: not valid UCI" in done.stderr


def test_one_that_is_not_enabled_has_not_failed_for_systemd(tmp_path: Path) -> None:
    notified = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(notified)
        done = run(tmp_path, "config flowguard 'globals'\n", NOTIFY_SOCKET=notified)
        assert done.returncode == 0
        systemd.settimeout(0)
        # It is given time to leave hardware first.
        assert systemd.recv(100) == b"EXTEND_TIMEOUT_USEC=150000000"
        assert systemd.recv(100) == b"READY=1"


def test_a_second_daemon_does_not_start(tmp_path: Path) -> None:
    held = take(str(tmp_path))
    done = run(tmp_path, "config flowguard 'globals'\n\toption enabled '1'\n")
    os.close(held)
    assert done.returncode == 1
    assert "another flowguard runs already" in done.stderr


def test_check_names_each_problem_and_a_remedy(tmp_path: Path) -> None:
    configuration = tmp_path / "flowguard"
    configuration.write_text("config flowguard 'globals'\n\toption level 'fast'\n")
    done = flowguard("check", "--json", "--config", str(configuration))
    assert done.returncode == 1
    (problem,) = (f for f in json.loads(done.stdout) if f["code"] == "configuration")
    assert f"{configuration}:2" in problem["sentence"]
    assert problem["remedy"]


def checked(directory: Path, *findings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`flowguard check` beside a service that has these findings."""
    path = str(directory / "control.sock")

    async def call(method: str, params: dict[str, Any]) -> Any:
        return findings if method == "check" else None

    async def run() -> subprocess.CompletedProcess[str]:
        server = ControlServer(path, call)
        await server.start()
        try:
            return await asyncio.to_thread(flowguard, "check", "--socket", path)
        finally:
            server.close()

    return asyncio.run(run())


def finding(grade: str, sentence: str) -> dict[str, str]:
    return {"grade": grade, "code": "device", "sentence": sentence, "remedy": ""}


def test_check_asks_the_service_that_runs(tmp_path: Path) -> None:
    done = checked(tmp_path, finding("fine", "wan has not been tried"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split(maxsplit=2) == ["fine", "device", "wan has not been tried\n"]


def test_a_ready_section_stands_below_its_remedy(tmp_path: Path) -> None:
    section = "config exclude\n\tlist device 'wan'\n"
    told = finding("warning", "sqm is active") | {"remedy": "exclude it", "section": section}
    lines = [line.strip() for line in checked(tmp_path, told).stdout.splitlines()]
    assert lines[1:] == ["-> exclude it", "config exclude", "list device 'wan'"]


def test_only_errors_make_a_check_fail(tmp_path: Path) -> None:
    found = [finding("fine", "s"), finding("warning", "s")]
    assert checked(tmp_path, *found).returncode == 0
    assert checked(tmp_path, *found, finding("error", "s")).returncode == 1


def test_a_name_that_is_no_text_does_not_cost_the_whole_answer(tmp_path: Path) -> None:
    done = checked(tmp_path, finding("fine", "eth\udcff is left out"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "eth\\udcff is left out" in done.stdout
