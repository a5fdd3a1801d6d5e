# SPDX-License-Identifier: GPL-2.0-or-later

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.home.topology import Home
from tests.lab.kernel import LabError
from tests.lab.namespace import Namespace

NEEDED = ("nft", "ip", "conntrack", "sysctl")


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    if os.geteuid() or not all(map(shutil.which, NEEDED)):
        pytest.skip(f"needs root and {', '.join(NEEDED)}")
    trial = Namespace(f"fgtest{os.getpid()}-may")
    try:
        trial.create()
    except LabError as error:
        pytest.skip(f"network namespaces may not be made here: {error}")
    trial.delete()
    home = Home()
    try:
        home.build()
        yield home
    finally:
        home.remove()
