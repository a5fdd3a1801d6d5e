# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard report` as a shell sees it."""

from __future__ import annotations

import asyncio
import re
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flowguard.cli import main
from flowguard.service.control_server import ControlServer
from tests.cli.test_cli import flowguard
from tests.report.household import a_status


@pytest.fixture
def nobody(tmp_path: Path) -> list[str]:
    """Options for a machine where no daemon runs."""
    (tmp_path / "flowguard").write_text("# of Anna\nconfig flowguard 'globals'\n")
    return [
        *("--socket", str(tmp_path / "none.sock")),
        *("--config", str(tmp_path / "flowguard")),
        *("--state-dir", str(tmp_path)),
    ]


def test_it_writes_a_file_for_its_owner_and_says_so_in_one_line(
    tmp_path: Path, nobody: list[str]
) -> None:
    path = tmp_path / "report.md"
    done = flowguard("report", *nobody, str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: ") and done.stdout.count("\n") == 1
    assert "safe to publish" in done.stdout and "read it first" in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert "The daemon does not answer" in text and "is flowguard running?" in text
    assert "config flowguard 'globals'" in text and "Anna" not in text


def test_without_a_file_it_is_a_new_one_in_the_temporary_folder(
    tmp_path: Path, nobody: list[str]
) -> None:
    first, second = (flowguard("report", *nobody, TMPDIR=str(tmp_path)).stdout for _ in range(2))
    paths = {line.split(": ")[0] for line in (first, second)}
    assert len(paths) == 2
    for path in paths:
        assert Path(path).parent == tmp_path and path.endswith(".md")
        assert Path(path).read_text().startswith("# flowguard ")


def test_to_standard_output_nothing_else_is_printed(nobody: list[str]) -> None:
    done = flowguard("report", *nobody, "-")
    assert done.returncode == 0
    assert done.stdout.startswith("# flowguard ") and "safe to publish" not in done.stdout


def test_this_very_machine_is_not_named(nobody: list[str]) -> None:
    text = flowguard("report", *nobody, "-").stdout
    name = socket.gethostname()
    assert name == "localhost" or not re.search(rf"\b{re.escape(name)}\b", text)
    macs = {path.read_text().strip() for path in Path("/sys/class/net").glob("*/address")}
    assert [mac for mac in macs - {"00:00:00:00:00:00"} if mac and mac in text] == []


def test_it_does_not_call_safe_what_it_could_not_mask(
    nobody: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "flowguard").write_text("config 'flow\n")
    assert main(["report", *nobody, str(tmp_path / "report.md")]) == 1
    told = capsys.readouterr()
    assert "names are not masked: configuration flowguard: line 1: " in told.err
    assert "not safe to publish" in told.out


def test_a_file_that_cannot_be_written_is_told_in_one_line(nobody: list[str]) -> None:
    done = flowguard("report", *nobody, "/proc/none/report.md")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "flowguard: report: /proc/none/report.md: No such file or directory\n"


def test_a_daemon_that_runs_is_asked_for_its_status_and_what_it_finds(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    finding = {"grade": "error", "code": "device", "sentence": "wan is odd", "remedy": "mend it"}
    answers = {"status": {**a_status(), "reason": "all is well"}, "check": [finding]}

    async def call(method: str, params: dict[str, Any]) -> Any:
        return answers[method]

    async def run() -> subprocess.CompletedProcess[str]:
        server = ControlServer(path, call)
        await server.start()
        try:
            return await asyncio.to_thread(flowguard, "report", "--socket", path, "-")
        finally:
            server.close()

    text = asyncio.run(run()).stdout
    assert "- reason: all is well" in text and "does not answer" not in text
    assert "- error: device: wan is odd (mend it)" in text


def test_one_that_hangs_is_waited_for_once(
    tmp_path: Path,
    nobody: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "mute.sock"
    monkeypatch.setattr("flowguard.cli.report.STATUS_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        assert main(["report", "--socket", str(path), "--state-dir", str(tmp_path), "-"]) == 0
    assert capsys.readouterr().out.count("does flowguard hang?") == 2
