# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard classify`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowguard.cli import main

BUSY = "<3>[   12.345678] mtk_soc_eth 15100000.ethernet: PPE table busy\n"
ORDINARY = "<6>[   12.345678] br-lan: port 1(lan1) entered forwarding state\n"


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = tmp_path / "bad.log", tmp_path / "good.log"
    bad.write_text(BUSY)
    good.write_text(ORDINARY)
    assert main(["classify", "--json", str(bad), str(good)]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["file"] == str(bad)
    assert first["verdict"] == "offload"
    (fault,) = first["faults"]
    assert fault["rule"] == "mtk-ppe-table-busy"
    assert fault["class"] == "driver_error"
    assert fault["driver"] == "mtk_soc_eth"
    assert fault["line"] == BUSY.partition("] ")[2].strip()
    assert second == {"file": str(good), "verdict": "none", "faults": []}


def test_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.log"
    bad.write_text(BUSY)
    assert main(["classify", str(bad)]) == 1
    assert f"{bad}: offload" in capsys.readouterr().out


def test_nothing_found(tmp_path: Path) -> None:
    good = tmp_path / "good.log"
    good.write_text(ORDINARY)
    assert main(["classify", str(good)]) == 0


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    noise = tmp_path / "noise.log"
    noise.write_bytes(bytes(range(256)) + b"\n" + BUSY.encode())
    assert main(["classify", str(noise)]) == 1


def test_unreadable_file_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.log"
    bad.write_text(BUSY)
    assert main(["classify", "--json", str(tmp_path / "gone.log"), str(bad)]) == 2
    captured = capsys.readouterr()
    assert "gone.log: No such file" in captured.err
    assert json.loads(captured.out)["verdict"] == "offload"


def test_rules_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "own.toml"
    rules.write_text("[[rule]]\nid = 7\n")
    assert main(["classify", "--rules", str(rules), str(rules)]) == 2
    assert "own.toml: rule 1: 'id' must be a text" in capsys.readouterr().err
