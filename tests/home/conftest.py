# SPDX-License-Identifier: GPL-2.0-or-later

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.home.topology import Home

NEEDED = ("nft", "ip", "conntrack", "sysctl")


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    if os.geteuid() or not all(map(shutil.which, NEEDED)):
        pytest.skip(f"needs root and {', '.join(NEEDED)}")
    trial = f"fgtest{os.getpid()}-may"
    if subprocess.run(["ip", "netns", "add", trial], capture_output=True).returncode:
        pytest.skip("network namespaces may not be made here")
    subprocess.run(["ip", "netns", "delete", trial], check=True)
    home = Home()
    try:
        home.build()
        yield home
    finally:
        home.remove()
