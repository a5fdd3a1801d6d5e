# SPDX-License-Identifier: GPL-2.0-or-later
"""A router for each scenario; one that fails shows what its last boots left behind.

The kernel is named by LAB_KERNEL.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.lab.kernel import DEFAULT_KERNEL
from tests.lab.reboots.hardware import Board

# RAM in a file is written as often as RAM is.
_FAST = Path("/dev/shm")


@pytest.fixture(scope="session", autouse=True)
def _unwind_on_sigterm() -> None:
    """So that no QEMU outlives us."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@pytest.fixture(scope="session")
def kernel() -> str:
    return os.environ.get("LAB_KERNEL", DEFAULT_KERNEL)


@pytest.fixture
def make_board() -> Iterator[Callable[..., Board]]:
    with ExitStack() as cleanup:
        # Not pytest's own directory: its path is too long for a socket.
        directory = Path(cleanup.enter_context(TemporaryDirectory(prefix="flowguard-")))
        fast = _FAST if _FAST.is_dir() else directory
        memory = Path(cleanup.enter_context(TemporaryDirectory(prefix="flowguard-", dir=fast)))
        yield lambda **options: Board(directory, memory / "memory", **options)


@pytest.fixture
def board(make_board: Callable[..., Board]) -> Board:
    return make_board()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    board: Any = getattr(item, "funcargs", {}).get("board")
    if report.failed and board:
        report.sections += board.evidence()
    return report
