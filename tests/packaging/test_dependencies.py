# SPDX-License-Identifier: GPL-2.0-or-later
"""A new import must not break routers: what is imported is in what the package depends on."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.build import ROOT, build, pythons
from tests.packaging.standard_library import NOT_EVERYWHERE, NOWHERE, SPLIT, package_of

SOURCES = sorted((ROOT / "daemon" / "flowguard").rglob("*.py"))
# How each foreign module comes onto a router; systemd's is for systemd.
FOREIGN = {"psutil": "python3-psutil", "systemd": None}

# Run by other Pythons: imports modules while those of missing packages cannot be found.
ROUTER = """
import json, sys
missing, modules, arguments = json.load(sys.stdin)
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError("in no package that is installed", name=name)
present = set(sys.modules)
for name in present:
    if name.partition(".")[0] in missing:
        del sys.modules[name]
sys.meta_path.insert(0, Missing())
for module in modules:
    __import__(module)
if arguments:
    from flowguard.cli import main
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    assert not status, status
print("\\n" + json.dumps(sorted(set(sys.modules) - present)))
"""


@pytest.fixture(scope="module")
def depends(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    packages = build(tmp_path_factory.mktemp("package")).depends
    assert all(package.startswith("+") for package in packages)
    return {package[1:] for package in packages}


def imports(source: Path) -> Iterator[str]:
    """Every module that a file may import at some time, lazily or for type checks only."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def standard_modules() -> set[str]:
    found = {module for source in SOURCES for module in imports(source)}
    return {m for m in found if m.partition(".")[0] in sys.stdlib_module_names}


def on_router(
    python: str, depends: set[str], modules: set[str], *arguments: str, path: str = ""
) -> set[str]:
    """What a router with only these packages loads for modules or for a command."""
    missing = [m for name in SPLIT if name not in depends for m in SPLIT[name]]
    done = subprocess.run(
        [python, "-c", ROUTER],
        input=json.dumps([[*missing, *NOWHERE], sorted(modules), arguments]),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_sources_are_searched() -> None:
    assert {"asyncio", "logging", "psutil"} <= {m for s in SOURCES for m in imports(s)}


def test_what_is_no_part_of_python_has_a_package(depends: set[str]) -> None:
    found = {m.partition(".")[0] for source in SOURCES for m in imports(source)}
    foreign = found - set(sys.stdlib_module_names) - {"flowguard"}
    assert foreign == set(FOREIGN)
    # pyroute2's modules are loaded by name (kernel/nftables/narrow_pyroute2.py).
    needed = {"python3-pyroute2", *filter(None, FOREIGN.values())}
    assert needed <= depends


def test_every_part_of_python_that_is_imported_is_depended_on(depends: set[str]) -> None:
    where = {module: package_of(module) for module in standard_modules()}
    assert {m: p for m, p in where.items() if p not in depends} == {}
    assert not {m.partition(".")[0] for m in where} & set(NOWHERE)


def test_every_part_depended_on_is_needed_and_exists_everywhere(depends: set[str]) -> None:
    parts = depends & {*SPLIT, "python3-light"}
    assert parts == {package_of(module) for module in standard_modules()}
    assert not depends & NOT_EVERYWHERE


@pytest.mark.parametrize("python", pythons())
def test_what_those_parts_import_themselves_is_there_too(python: str, depends: set[str]) -> None:
    loaded = on_router(python, depends, standard_modules())
    assert "asyncio.base_events" in loaded


@pytest.mark.parametrize("python", pythons())
@pytest.mark.parametrize("command", ["--version", "--help", "classify"])
def test_the_program_runs_on_nothing_else(
    python: str, depends: set[str], command: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("[ 1.0] nothing of interest\n")
    arguments = [command, str(log)] if command == "classify" else [command]
    on_router(python, depends, set(), *arguments, path=str(ROOT / "daemon"))


def test_the_daemon_runs_on_nothing_else(depends: set[str]) -> None:
    modules = {
        f"flowguard.{name}"
        for name in (
            "service.life",
            "checks",
            "platform.openwrt.ubus_object",
            "platform.load",
        )
    }
    path = os.pathsep.join([str(ROOT / "daemon"), *sys.path])
    on_router(sys.executable, depends, modules, path=path)


def test_a_missing_part_is_noticed(depends: set[str]) -> None:
    for part in ("python3-asyncio", "python3-logging"):
        with pytest.raises(AssertionError, match="in no package that is installed"):
            on_router(sys.executable, depends - {part}, standard_modules())
