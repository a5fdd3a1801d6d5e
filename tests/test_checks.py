# SPDX-License-Identifier: GPL-2.0-or-later
"""What `flowguard check` says about files and sysctls."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.checks import Finding, Grade, check_firewall, check_min_packets, check_sysctls
from flowguard.host.configuration import Configuration

FIREWALL = "config defaults\n\toption input 'REJECT'\n{}\nconfig zone\n\toption name 'lan'\n"


def firewall(directory: Path, options: str) -> list[Finding]:
    path = directory / "firewall"
    path.write_text(FIREWALL.format(options))
    return list(check_firewall(str(path)))


@pytest.mark.parametrize("value", ["1", "true", "on", "yes", "enabled"])
def test_the_firewalls_own_offloading_is_a_conflict(tmp_path: Path, value: str) -> None:
    (finding,) = firewall(tmp_path, f"\toption flow_offloading '{value}'")
    assert (finding.grade, finding.code) == (Grade.ERROR, "fw4-offload")
    assert finding.remedy


@pytest.mark.parametrize("options", ["", "\toption flow_offloading '0'"])
def test_without_it_there_is_none(tmp_path: Path, options: str) -> None:
    (finding,) = firewall(tmp_path, options)
    assert finding.grade is Grade.FINE


def test_no_fw4_no_finding(tmp_path: Path) -> None:
    assert list(check_firewall(str(tmp_path / "none"))) == []


def test_a_broken_firewall_file_is_a_warning_with_its_line(tmp_path: Path) -> None:
    (finding,) = firewall(tmp_path, "\toption flow_offloading 'open end")
    assert finding.grade is Grade.WARNING


@pytest.mark.parametrize(("value", "grade"), [("0", Grade.WARNING), ("1", Grade.FINE)])
def test_sysctls(tmp_path: Path, value: str, grade: Grade) -> None:
    path = tmp_path / "value"
    path.write_text(value + "\n")
    assert {f.grade for f in check_sysctls(str(path), str(path))} == {grade}


def test_a_missing_sysctl_names_the_module(tmp_path: Path) -> None:
    findings = list(check_sysctls(str(tmp_path / "no"), str(tmp_path / "no")))
    assert {f.grade for f in findings} == {Grade.WARNING}
    assert "nf_conntrack" in findings[0].remedy


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
