# SPDX-License-Identifier: GPL-2.0-or-later
"""What flowguard needs of its machine, and its own files."""

from __future__ import annotations

import errno

import pytest

from flowguard.checks.finding import Finding, Grade
from flowguard.checks.flowtables import check_min_packets
from flowguard.checks.own import ACCOUNTING, FORWARDING, check_evidence, check_rules, check_sysctls
from tests.sensors.machine import Parts


def by_code(findings: list[Finding]) -> dict[str, Grade]:
    return {finding.code: finding.grade for finding in findings}


@pytest.mark.parametrize(("value", "grade"), [(0, Grade.WARNING), (1, Grade.FINE)])
def test_sysctls(value: int, grade: Grade) -> None:
    parts = Parts()
    parts.sysctls.values = {ACCOUNTING: value, FORWARDING: value}
    found = list(check_sysctls(parts.sysctls))
    assert by_code(found) == {"accounting": grade, "forwarding": grade}
    assert [bool(f.remedy) for f in found] == [grade is not Grade.FINE] * 2


def test_a_missing_sysctl_names_the_module() -> None:
    findings = list(check_sysctls(Parts().sysctls))
    assert {f.grade for f in findings} == {Grade.WARNING}
    assert "nf_conntrack" in findings[0].remedy


def test_files_of_rules_that_cannot_be_used_are_named() -> None:
    files = ("/good.toml", "/damaged.toml")
    (finding,) = check_rules(files, ["rules: /damaged.toml: is no TOML"])
    assert (finding.grade, finding.sentence) == (Grade.WARNING, "rules: /damaged.toml: is no TOML")
    assert [f.grade for f in check_rules(files, [])] == [Grade.FINE]
    assert not list(check_rules([], []))


def test_without_the_kernel_log_hardware_is_not_used() -> None:
    parts = Parts()
    assert by_code(list(check_evidence(parts.machine)))["kmsg"] is Grade.FINE
    assert not parts.kernel_log.listening
    parts.kernel_log.refusal = OSError(errno.EPERM, "Operation not permitted")
    assert by_code(list(check_evidence(parts.machine)))["kmsg"] is Grade.ERROR


def test_engines_can_be_looked_into_only_where_debugfs_is_mounted() -> None:
    parts = Parts()
    assert by_code(list(check_evidence(parts.machine)))["engine"] is Grade.WARNING
    parts.files.texts["/proc/mounts"] = "debugfs /sys/kernel/debug debugfs rw 0 0\n"
    assert by_code(list(check_evidence(parts.machine)))["engine"] is Grade.FINE
    parts.files.texts["/proc/mounts"] = ""
    parts.engines.entries = []
    assert by_code(list(check_evidence(parts.machine)))["engine"] is Grade.FINE


@pytest.mark.parametrize(
    ("min_packets", "counting", "found"), [(0, 0, 0), (20, 1, 0), (20, 0, 1), (20, None, 1)]
)
def test_a_minimum_of_packets_needs_counting(
    min_packets: int, counting: int | None, found: int
) -> None:
    parts = Parts()
    if counting is not None:
        parts.sysctls.values[ACCOUNTING] = counting
    findings = list(check_min_packets(parts.sysctls, min_packets))
    assert [f.grade for f in findings] == [Grade.ERROR] * found
    assert all("min_packets needs" in f.sentence and f.remedy for f in findings)
