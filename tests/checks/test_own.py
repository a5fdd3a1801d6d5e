# SPDX-License-Identifier: GPL-2.0-or-later
"""Sysctls, and the counters that a minimum of packets needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.checks.finding import Grade
from flowguard.checks.flowtables import check_min_packets
from flowguard.checks.own import check_rules, check_sysctls
from flowguard.platform.configuration.loading import Configuration


@pytest.mark.parametrize(("value", "grade"), [("0", Grade.WARNING), ("1", Grade.FINE)])
def test_sysctls(tmp_path: Path, value: str, grade: Grade) -> None:
    path = tmp_path / "value"
    path.write_text(value + "\n")
    assert {f.grade for f in check_sysctls(str(path), str(path))} == {grade}


def test_a_missing_sysctl_names_the_module(tmp_path: Path) -> None:
    findings = list(check_sysctls(str(tmp_path / "no"), str(tmp_path / "no")))
    assert {f.grade for f in findings} == {Grade.WARNING}
    assert "nf_conntrack" in findings[0].remedy


def test_files_of_rules_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    good, damaged, missing = (tmp_path / name for name in ("good", "damaged", "missing"))
    good.write_text("")
    damaged.write_text("[[rule]\n")
    findings = list(check_rules([str(good), str(damaged), str(missing)]))
    assert [f.grade for f in findings] == [Grade.WARNING] * 2
    assert str(damaged) in findings[0].sentence
    assert str(missing) in findings[1].sentence
    assert [f.grade for f in check_rules([str(good)])] == [Grade.FINE]
    assert not list(check_rules([]))


@pytest.mark.parametrize(
    ("min_packets", "counting", "found"), [(0, "0", 0), (20, "1", 0), (20, "0", 1), (20, None, 1)]
)
def test_a_minimum_of_packets_needs_counting(
    tmp_path: Path, min_packets: int, counting: str | None, found: int
) -> None:
    if counting:
        (tmp_path / "nf_conntrack_acct").write_text(counting + "\n")
    findings = list(check_min_packets(Configuration(min_packets=min_packets), str(tmp_path)))
    assert [f.grade for f in findings] == [Grade.ERROR] * found
    assert all("min_packets needs" in f.sentence and f.remedy for f in findings)
