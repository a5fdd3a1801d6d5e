# SPDX-License-Identifier: GPL-2.0-or-later
"""The unit for systemd, as systemd itself reads it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

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


def test_a_silent_daemon_is_ended_and_a_dead_one_always_started_again() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign, assignment]
    unit.read(UNIT)
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service.getint("WatchdogSec") == 60
    assert service["Restart"] == "on-failure"
    assert unit["Unit"].getint("StartLimitIntervalSec") == 0
    # The counted deaths (service/runs.py) are kept there.
    assert service["RuntimeDirectoryPreserve"] == "yes"
