# SPDX-License-Identifier: GPL-2.0-or-later
"""This Python, for use inside the lab router, with the project already compiled.

The guest sees the host's files copy-on-write, so what it compiles is lost with it, and
an emulated processor compiles slowly: every start of the daemon would take many seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.lab.machine import REPOSITORY

SOURCES = ("daemon", "tests", "bench")


def guest_python(**environment: str) -> list[str]:
    """The words of a command line that runs Python in the guest, in this environment."""
    compiling = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-m", "compileall", "-q", *SOURCES]
    subprocess.run(command, cwd=REPOSITORY, env=compiling, check=True)
    settings = [f"{name}={value}" for name, value in environment.items()]
    return ["env", *settings, "PYTHONPATH=daemon", sys.executable]
