# SPDX-License-Identifier: GPL-2.0-or-later
"""Linters as tests, so that a laptop and CI agree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
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
PACKAGE = REPOSITORY / "daemon/flowguard"
# The kernel's room, the edges that talk to what else runs on the machine, the control socket's
# two ends, and the rules, which are read from where they are installed.
MAY_TOUCH_THE_SYSTEM = {"kernel", "platform", "ubus", "cli", "rules"}
CONTROL_SOCKET = {"service/control.py", "service/control_server.py"}
MODULES = {"socket", "subprocess", "fcntl"}
CALLS = {
    "open",
    "time.monotonic",
    *(f"os.{name}" for name in ("open", "read", "write", "stat", "access", "listdir", "scandir")),
    *(f"os.{name}" for name in ("makedirs", "mkdir", "unlink", "remove", "rename", "replace")),
    *(f"os.path.{name}" for name in ("exists", "lexists", "isdir", "isfile", "ismount")),
}


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
    folders = ("daemon", "tests", "bench", "init.d", "packages")
    files = [p for folder in folders for p in (REPOSITORY / folder).rglob("*.py")]
    assert files
    missing = [p for p in files if "SPDX-License-Identifier: GPL-2.0" not in p.read_text()[:80]]
    assert not missing


def test_only_the_kernels_room_touches_the_system() -> None:
    found = {
        str(path.relative_to(PACKAGE)): touched
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in MAY_TOUCH_THE_SYSTEM
        if (touched := sorted(set(touching(ast.parse(path.read_text())))))
    }
    offenders = {path: touched for path, touched in found.items() if path not in CONTROL_SOCKET}
    assert not offenders, "use the Machine (kernel/machine.py) instead"


def touching(tree: ast.AST) -> Iterator[str]:
    """What of the system a module imports or calls by itself."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from MODULES & {name.name for name in names}
            case ast.ImportFrom(module=str(module), level=0):
                yield from MODULES & {module}
            case ast.Call(function):
                yield from CALLS & {ast.unparse(function)}


def test_what_touches_the_system_is_seen() -> None:
    code = "import socket\nfrom fcntl import ioctl\nopen(1)\nos.path.exists(2)\nfile.open()"
    found = set(touching(ast.parse(code)))
    assert found == {"socket", "fcntl", "open", "os.path.exists"}


def test_no_two_modules_have_one_name() -> None:
    """Whoever reads or looks for a name means one thing by it.

    The modules of cli have the names of their commands, which are about those things.
    """
    places: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py" and path.parent != PACKAGE / "cli":
            places.setdefault(path.name, []).append(str(path.relative_to(PACKAGE)))
    assert [found for found in places.values() if len(found) > 1] == []
