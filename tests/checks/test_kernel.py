# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bad kernels, and modules that are missing."""

from __future__ import annotations

import pytest

from flowguard.checks.finding import Finding, Grade
from flowguard.checks.known_kernels import (
    BAD_KERNELS,
    FAST_PATHS,
    PACKAGES,
    ThisKernel,
    build_day,
    check_fast_paths,
    check_modules,
    check_version,
    concerns,
    version,
)
from flowguard.core.model import Device
from flowguard.core.tables.topology import Kind, Link
from tests import virtual_time
from tests.sensors.machine import Parts

MEDIATEK = frozenset({"mtk_soc_eth"})
L2TP = frozenset({"l2tp_ppp", "nf_conntrack"})
NONE: frozenset[str] = frozenset()


def codes(kernel: ThisKernel) -> set[str]:
    return {bad.code for bad in BAD_KERNELS if concerns(bad, kernel)}


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (ThisKernel("5.10.176", "", NONE, NONE), {"kernel-timeouts"}),
        (ThisKernel("5.15.137", "2024-01-01", MEDIATEK, NONE), set()),
        (ThisKernel("6.12.93", "2026-06-01", MEDIATEK, L2TP), {"kernel-mtk-l2tp"}),
        (ThisKernel("6.12.94", "2026-06-01", MEDIATEK, L2TP), set()),
        (ThisKernel("6.12.93", "2026-06-01", frozenset({"igc"}), L2TP), set()),
        (ThisKernel("6.18.21", "2026-07-01", MEDIATEK, L2TP), {"kernel-mtk-l2tp"}),
        (ThisKernel("6.18.30", "2026-05-31", MEDIATEK, NONE), {"kernel-extend-timeout"}),
        (ThisKernel("6.18.30", "2026-06-03", MEDIATEK, NONE), set()),
        (ThisKernel("6.18.30", "", MEDIATEK, NONE), {"kernel-extend-timeout"}),
        (ThisKernel("7.0-rc1", "", MEDIATEK, L2TP), set()),
        (ThisKernel("6.12.95+deb12-amd64", "2026-07-14", NONE, NONE), set()),
    ],
)
def test_what_is_known_of_a_kernel(kernel: ThisKernel, expected: set[str]) -> None:
    assert codes(kernel) == expected


def looked_at(parts: Parts) -> list[Finding]:
    return virtual_time.run(check_version(parts.machine))


def test_this_machine_is_told_what_is_known_of_its_kernel() -> None:
    parts = Parts("6.12.93")
    parts.network.add(Link("wan", Kind.PORT))
    parts.network.devices["wan"] = Device("wan", 2, driver="mtk_soc_eth")
    assert [f.code for f in looked_at(parts)] == ["kernel"]
    parts.files.texts["/sys/module/pppol2tp"] = ""
    (finding,) = looked_at(parts)
    assert (finding.code, finding.grade) == ("kernel-mtk-l2tp", Grade.WARNING)
    assert finding.sentence.startswith("Linux 6.12.93: ") and finding.remedy


def test_a_kernel_that_was_repaired_without_a_new_version_is_known_by_its_day() -> None:
    parts = Parts("6.18.30")
    parts.network.add(Link("wan", Kind.PORT))
    parts.network.devices["wan"] = Device("wan", 2, driver="mtk_soc_eth")
    built = "Linux version 6.18.30 (builder@host) (gcc 13.3.0) #0 SMP Tue Jun  2 12:00:00 2026\n"
    parts.files.texts["/proc/version"] = built
    assert [f.code for f in looked_at(parts)] == ["kernel-extend-timeout"]
    parts.files.texts["/proc/version"] = built.replace("Jun  2", "Jun  3")
    assert [f.code for f in looked_at(parts)] == ["kernel"]


def test_every_entry_says_what_to_do_and_where_that_is_from() -> None:
    for bad in BAD_KERNELS:
        assert bad.code.startswith("kernel-") and bad.sentence and bad.remedy
        assert bad.source.startswith("https://")
        assert all(first < good for first, good in bad.ranges)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("6.12.94+deb13-amd64", (6, 12, 94)), ("7.0-rc1", (7, 0)), ("6.6.86", (6, 6, 86)), ("x", ())],
)
def test_versions(text: str, numbers: tuple[int, ...]) -> None:
    assert version(text) == numbers


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("#0 SMP Tue Jun  2 12:00:00 2026", "2026-06-02"),
        ("#1 SMP Sun Jul 20 19:48:02 UTC 2025", "2025-07-20"),
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.12.95-1 (2026-07-14)", ""),
        ("#0 SMP Foo Jam 42 12:00:00 2026", ""),
    ],
)
def test_the_day_a_kernel_was_built(text: str, day: str) -> None:
    assert build_day(text) == day


@pytest.fixture
def parts() -> Parts:
    """A machine with a folder for modules, in which there are none."""
    found = Parts("6.12")
    found.files.texts["/lib/modules/6.12"] = ""
    return found


def missing(parts: Parts) -> set[str]:
    findings = list(check_modules(parts.machine))
    assert all(PACKAGES[f.sentence.split()[2]] in f.remedy for f in findings)
    return {f.sentence.split()[2] for f in findings}


def test_modules_may_be_files_compressed_built_in_or_loaded(parts: Parts) -> None:
    folder = "/lib/modules/6.12"
    assert missing(parts) == set(PACKAGES)
    parts.files.texts[f"{folder}/nft_hash.ko"] = ""
    parts.files.texts[f"{folder}/modules.dep"] = (
        "kernel/net/netfilter/nft_flow_offload.ko.xz: kernel/net/netfilter/nf_flow_table.ko.xz\n"
    )
    assert missing(parts) == {"nf_flow_table_inet", "nf_conntrack_netlink"}
    built_in = "kernel/net/netfilter/nf-conntrack-netlink.ko\n"
    parts.files.texts[f"{folder}/modules.builtin"] = built_in
    parts.files.texts["/sys/module/nf_flow_table_inet"] = ""
    assert missing(parts) == set()


def test_no_modules_at_all_is_a_container_and_no_finding() -> None:
    assert missing(Parts("6.12")) == set()


@pytest.mark.parametrize("module", FAST_PATHS)
def test_other_fast_paths(parts: Parts, module: str) -> None:
    assert not list(check_fast_paths(parts.files))
    parts.files.texts[f"/sys/module/{module}"] = ""
    (finding,) = check_fast_paths(parts.files)
    assert finding.code == "fast-path" and module in finding.sentence
