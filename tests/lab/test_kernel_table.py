# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/kernels.md: every line of its table is proven by a scenario that there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.lab.kernel import SUITES

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = REPOSITORY / "docs" / "kernels.md"
SCENARIOS = Path(__file__).parent


def rows() -> list[list[str]]:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def scenarios() -> set[str]:
    """As `test_file::test_name`."""
    return {
        f"{path.stem}::{node.name}"
        for folder in ("scenarios", "reboots")
        for path in (SCENARIOS / folder).glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_the_table_has_a_column_for_each_kernel_of_the_lab() -> None:
    assert set(SUITES) == set(rows()[0]) & set(SUITES)
    assert len({len(row) for row in rows()}) == 1


def test_each_line_names_scenarios_that_there_are() -> None:
    lines = rows()[2:]
    assert lines
    for line in lines:
        named = re.findall(r"`([a-z0-9_]+::[a-z0-9_]+)`", line[-1])
        assert named, f"nothing proves: {line[0]}"
        assert set(named) <= scenarios(), line
