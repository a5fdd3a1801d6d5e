# SPDX-License-Identifier: GPL-2.0-or-later
"""The unit for systemd, as systemd itself reads it."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.ending import longest_end

UNIT = Path(__file__).parents[2] / "init.d" / "flowguard.service"
ANALYZE = shutil.which("systemd-analyze")
EXPOSURE_LIMIT = 3.0
needs_systemd = pytest.mark.skipif(not ANALYZE, reason="systemd is not installed")


@pytest.fixture
def installable(tmp_path: Path) -> Path:
    """The unit with a program that exists here."""
    unit = tmp_path / "flowguard.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/flowguard", shutil.which("true") or ""))
    return unit


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [ANALYZE or "", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_systemd
def test_it_is_valid(installable: Path) -> None:
    assert "flowguard.service" not in analyze("verify", installable).stderr


@needs_systemd
def test_it_is_hardened(installable: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", installable)
    (overall,) = [line for line in done.stdout.splitlines() if "Overall exposure level" in line]
    assert float(overall.split(":")[1].split()[0]) < EXPOSURE_LIMIT, done.stdout


@pytest.mark.parametrize(
    ("process", "state", "job", "asked"),
    [
        ("17", "running", "29 flowguard.service stop running", "stop"),
        ("17", "running", "24 flowguard.service restart running", "stop --keep"),
        ("17", "stopping", "38 flowguard.service stop running", "stop --reboot"),
        # It ended by itself.
        ("", "running", "", ""),
    ],
)
def test_what_becomes_of_hardware_depends_on_why_it_stops(
    tmp_path: Path, process: str, state: str, job: str, asked: str
) -> None:
    """With what a real systemd said in each of these cases."""
    program, systemctl = tmp_path / "flowguard", tmp_path / "systemctl"
    program.write_text('#!/bin/sh\necho "$@"\n')
    systemctl.write_text(f'#!/bin/sh\n[ $1 = list-jobs ] && echo "{job}" || echo {state}\n')
    for file in (program, systemctl):
        file.chmod(0o755)
    text = UNIT.read_text().replace("/usr/bin/flowguard", str(program))
    (script,) = re.findall(r"(?s)^ExecStop=-/bin/sh -c '(.*?)'$", text, re.MULTILINE)
    # As systemd reads it: lines that go on are one, and $$ is a dollar.
    script = script.replace("\\\n", " ").replace("$$", "$")
    environment = {"PATH": f"{tmp_path}:/bin", "MAINPID": process}
    done = subprocess.run(
        ["sh", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (asked, "")


def test_systemd_waits_for_a_drain_before_it_kills() -> None:
    assert float(unit()["Service"]["TimeoutStopSec"]) > longest_end()


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(UNIT)
    return parser


def test_a_silent_daemon_is_ended_and_a_dead_one_always_started_again() -> None:
    service = unit()["Service"]
    assert service["Type"] == "notify"
    assert service.getint("WatchdogSec") == 60
    assert service["Restart"] == "on-failure"
    assert unit()["Unit"].getint("StartLimitIntervalSec") == 0
    # The counted deaths (service/runs.py) are kept there.
    assert service["RuntimeDirectoryPreserve"] == "yes"
