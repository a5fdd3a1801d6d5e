# SPDX-License-Identifier: GPL-2.0-or-later
"""What stays out of a daemon that has just begun: each costs a router a megabyte or more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowguard.service.control import Unreachable, request
from tests.lab.wait import wait_for

CONFIGURATION = """
config flowguard 'globals'
	option enabled '1'
	list device 'flowguard-none'
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the daemon runs as root only")
def test_heavy_modules_stay_out(tmp_path: Path) -> None:
    """Its one device does not exist, so it changes nothing."""
    (tmp_path / "flowguard").write_text(CONFIGURATION)
    control = str(tmp_path / "run" / "control.sock")
    command = [sys.executable, "-X", "importtime", "-m", "flowguard", "run", "--socket", control]
    command += ["--config", str(tmp_path / "flowguard"), "--state-dir", str(tmp_path)]
    command += ["--ubus", str(tmp_path / "ubus.sock")]
    with (tmp_path / "imports").open("w") as imports:
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=imports)
        try:
            wait_for(lambda: _answers(control), "the daemon's answer")
        finally:
            daemon.terminate()
            daemon.wait()
    lines = (tmp_path / "imports").read_text().splitlines()
    loaded = {line.split("|")[-1].strip() for line in lines if line.startswith("import time:")}
    assert "flowguard.service.loop" in loaded
    heavy = {"argparse", "_ssl", "ast", "ipaddress", "dataclasses", "pyroute2.iproute", "psutil"}
    assert loaded & heavy == set()


def _answers(control: str) -> bool:
    try:
        request(control, "decisions")
    except (OSError, Unreachable):
        return False
    return True
