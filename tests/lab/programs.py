# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of the world around the router that run in the background."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def running(*command: str) -> Iterator[Callable[[], str]]:
    """Runs a program until the end of the `with`; the result tells what it has said so far."""
    with tempfile.TemporaryFile("w+") as log:

        def said() -> str:
            log.seek(0)
            return log.read()

        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield said
        finally:
            process.terminate()
            process.wait()
