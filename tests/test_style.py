# SPDX-License-Identifier: GPL-2.0-or-later
"""Linters as tests, so that a laptop and CI agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CHECKS = {
    "ruff check": ["ruff", "check", "--no-cache", "."],
    "ruff format": ["ruff", "format", "--no-cache", "--check", "."],
    "mypy": ["mypy"],
}
IMPURE = re.compile(
    r"^(?:import|from) (?:os|socket|subprocess|asyncio|time|random|logging|pathlib|io|sys"
    r"|pyroute2|psutil|flowguard\.(?!core))\b",
    re.MULTILINE,
)


@pytest.mark.parametrize("command", CHECKS.values(), ids=CHECKS.keys())
def test_linter(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "daemon/flowguard/core").rglob("*.py")), ids=lambda p: p.name
)
def test_the_core_neither_does_io_nor_imports_the_edges(path: Path) -> None:
    assert not IMPURE.search(path.read_text()), path


def test_every_source_file_states_its_licence() -> None:
    folders = ("daemon", "tests", "bench", "init.d")
    files = [p for folder in folders for p in (REPOSITORY / folder).rglob("*.py")]
    assert files
    missing = [p for p in files if "SPDX-License-Identifier: GPL-2.0" not in p.read_text()[:80]]
    assert not missing
