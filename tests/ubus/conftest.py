# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything is tested against the broker here, and the real ubusd where there is one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from tests.ubus.broker import Broker, RealUbusd, Ubusd

PROGRAM = os.environ.get("UBUSD") or shutil.which("ubusd")


@pytest.fixture(
    params=[
        "broker",
        pytest.param("ubusd", marks=pytest.mark.skipif(not PROGRAM, reason="no ubusd on PATH")),
    ]
)
def ubusd(request: pytest.FixtureRequest) -> Iterator[Ubusd]:
    # pytest's own folders can be too deep for the 107 bytes of a socket's path.
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/ubus.sock"
        yield Broker(path) if request.param == "broker" else RealUbusd(PROGRAM or "", path)
