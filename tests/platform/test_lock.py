# SPDX-License-Identifier: GPL-2.0-or-later
"""Only one daemon holds the runtime directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowguard.platform.lock import AlreadyRunning, take


def test_a_second_daemon_is_told_who_runs(tmp_path: Path) -> None:
    first = take(str(tmp_path / "run"))
    with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        take(str(tmp_path / "run"))
    os.close(first)


def test_the_lock_of_a_dead_daemon_is_free(tmp_path: Path) -> None:
    os.close(take(str(tmp_path)))
    os.close(take(str(tmp_path)))
