# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration as `uci export` gives it: a stub on PATH, and the real one where there is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flowguard.platform.configuration.loading import load
from flowguard.platform.openwrt import effective
from flowguard.platform.openwrt.uci import UciError

UCI = os.environ.get("UCI") or shutil.which("uci")
TEXT = (
    "config flowguard 'globals'\n\toption enabled '1'\n\n# a comment\n\toption level 'software'\n"
)
EXPORT = (
    "package flowguard\n\nconfig flowguard 'globals'\n\toption enabled '1'\n\toption level '{}'\n\n"
)

Program = Callable[[str], None]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for each place of the configuration; no `uci` on PATH."""
    for folder in ("override", "config", "staged", "bin"):
        (tmp_path / folder).mkdir()
    places = (str(tmp_path / "override"), str(tmp_path / "config"))
    monkeypatch.setattr(effective, "DIRECTORIES", places)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    (tmp_path / "config/flowguard").write_text(TEXT)
    return tmp_path


@pytest.fixture
def program(root: Path) -> Program:
    """Puts a shell script in the place of `uci`."""

    def install(script: str) -> None:
        path = root / "bin/uci"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return install


def level() -> str:
    loaded = load()
    assert loaded.readable
    return loaded.configuration.level


def test_without_uci_the_file_counts_and_an_override_before_it(root: Path) -> None:
    assert level() == "software"
    (root / "override/flowguard").write_text(TEXT.replace("software", "none"))
    assert level() == "none"


def test_what_uci_exports_counts(program: Program) -> None:
    program(f'[ "$*" = "-q export flowguard" ] && printf "%s\\n" "{EXPORT.format("none")}"')
    assert level() == "none"


def test_the_lines_are_those_of_the_file_when_it_says_the_same(
    program: Program, root: Path
) -> None:
    (root / "config/flowguard").write_text(TEXT.replace("software", "fast"))
    program(f"cat <<'END'\n{EXPORT.format('fast').rstrip()}\n\nEND")
    assert str(load().problems[0]).startswith(f"{root}/config/flowguard:5: option 'level'")
    program(f"cat <<'END'\n{EXPORT.format('faster').rstrip()}\n\nEND")
    assert str(load().problems[0]).startswith("uci export flowguard:5: option 'level'")


def test_a_staged_repair_counts(program: Program, root: Path) -> None:
    (root / "config/flowguard").write_text("config 'flowguard\n")
    program(f'printf "%s\\n" "{EXPORT.format("none")}"')
    assert level() == "none"


def test_when_uci_fails_the_file_says_what_is_wrong(program: Program, root: Path) -> None:
    program("exit 1")
    assert level() == "software"
    (root / "config/flowguard").write_text("bogus\n")
    with pytest.raises(UciError):
        effective.load("flowguard")
    loaded = load()
    assert not loaded.readable
    assert str(loaded.problems[0]).startswith(f"{root}/config/flowguard:1: not valid UCI")


def test_a_uci_that_hangs_is_not_waited_for(
    program: Program, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(effective, "LIMIT_SECONDS", 0.1)
    program("exec sleep 60")
    assert level() == "software"
    assert "what is staged is not seen" in caplog.text


def test_a_uci_that_is_no_program_is_told(
    program: Program, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program("")
    (root / "bin/uci").chmod(0o644)
    assert level() == "software"
    assert "Permission denied" in caplog.text


@pytest.mark.skipif(not UCI, reason="no uci on PATH")
def test_the_real_uci_with_staged_changes_and_an_override(program: Program, root: Path) -> None:
    places = f"-c {root}/config -t {root}/staged -C {root}/override"
    program(f'exec {UCI} {places} "$@"')
    assert load().problems == () and level() == "software"
    run = f"{UCI} {places}"
    assert os.system(f"{run} set flowguard.globals.level=none") == 0
    assert "none" not in (root / "config/flowguard").read_text()
    assert level() == "none"
    assert os.system(f"{run} revert flowguard") == 0
    assert level() == "software"
    (root / "override/flowguard").write_text(TEXT.replace("software", "hardware"))
    assert level() == "hardware"
