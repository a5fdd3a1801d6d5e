# SPDX-License-Identifier: GPL-2.0-or-later
"""Every shell script, as shellcheck sees it; the feed's own checks do the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from packages.description import DEBIAN, OPENWRT
from tests.packaging.build import RECIPE, ROOT

# Run by BusyBox, which is nearest to dash.
PLAIN = (
    ROOT / "init.d" / "flowguard",
    ROOT / "config" / "flowguard.user",
    ROOT / "packages" / "scripts" / "openwrt" / "compile",
    RECIPE / "files" / "uci-defaults",
    RECIPE / "test.sh",
    *(script for package in (*OPENWRT, *DEBIAN) for script in package.scripts),
)
BASH = (
    ROOT / "package",
    ROOT / "test",
    ROOT / "run",
    ROOT / "tests" / "setup.sh",
    ROOT / "packages" / "completion",
)
# What OpenWrt's own files, which are not here, define or read: a source that is not followed,
# a variable that seems unused, one that seems unassigned.
DEFINED_ELSEWHERE = "SC1091,SC2034,SC2154"


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize(("shell", "scripts"), [("dash", PLAIN), ("bash", BASH)])
def test_shellcheck_finds_nothing(shell: str, scripts: tuple[Path, ...]) -> None:
    command = [
        "shellcheck",
        f"--shell={shell}",
        f"--exclude={DEFINED_ELSEWHERE}",
        *map(str, scripts),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_scripts_of_the_packages_say_how_they_end() -> None:
    """A packager takes the status of the last command for a failure of the whole."""
    for package in (*OPENWRT, *DEBIAN):
        for script in package.scripts:
            text = script.read_text()
            assert text.startswith("#!/bin/sh\n")
            assert "\nset -e\n" in text or text.endswith("\nexit 0\n"), script
