# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bad kernels, and modules that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowguard.checks.known_kernels import (
    DATA,
    PACKAGES,
    Machine,
    build_day,
    check_modules,
    concerns,
    load,
    version,
)

MEDIATEK = frozenset({"mtk_soc_eth"})
L2TP = frozenset({"l2tp_ppp", "nf_conntrack"})
NONE: frozenset[str] = frozenset()


def codes(machine: Machine) -> set[str]:
    return {bad.code for bad in load(DATA) if concerns(bad, machine)}


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (Machine("5.10.176", "", NONE, NONE), {"kernel-timeouts"}),
        (Machine("5.15.137", "2024-01-01", MEDIATEK, NONE), set()),
        (Machine("6.12.93", "2026-06-01", MEDIATEK, L2TP), {"kernel-mtk-l2tp"}),
        (Machine("6.12.94", "2026-06-01", MEDIATEK, L2TP), set()),
        (Machine("6.12.93", "2026-06-01", frozenset({"igc"}), L2TP), set()),
        (Machine("6.18.21", "2026-07-01", MEDIATEK, L2TP), {"kernel-mtk-l2tp"}),
        (Machine("6.18.30", "2026-05-31", MEDIATEK, NONE), {"kernel-extend-timeout"}),
        (Machine("6.18.30", "2026-06-03", MEDIATEK, NONE), set()),
        (Machine("6.18.30", "", MEDIATEK, NONE), {"kernel-extend-timeout"}),
        (Machine("7.0-rc1", "", MEDIATEK, L2TP), set()),
        (Machine("6.12.95+deb12-amd64", "2026-07-14", NONE, NONE), set()),
    ],
)
def test_what_is_known_of_a_kernel(machine: Machine, expected: set[str]) -> None:
    assert codes(machine) == expected


def test_every_entry_says_what_to_do_and_where_that_is_from() -> None:
    for bad in load(DATA):
        assert bad.code.startswith("kernel-") and bad.sentence and bad.remedy
        assert all(first < good for first, good in bad.ranges)
    assert Path(DATA).read_text().count("\nsource = ") == len(load(DATA))


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
def modules(tmp_path: Path) -> Path:
    folder = tmp_path / "lib/modules/6.12"
    folder.mkdir(parents=True)
    return folder


def missing(modules: Path) -> set[str]:
    findings = list(check_modules(str(modules.parents[2]), "6.12"))
    assert all(PACKAGES[f.sentence.split()[2]] in f.remedy for f in findings)
    return {f.sentence.split()[2] for f in findings}


def test_modules_may_be_files_compressed_built_in_or_loaded(modules: Path) -> None:
    (modules / "nft_numgen.ko").touch()
    (modules / "modules.dep").write_text(
        "kernel/net/netfilter/nft_flow_offload.ko.xz: kernel/net/netfilter/nf_flow_table.ko.xz\n"
    )
    assert missing(modules) == {"nf_flow_table_inet", "nf_conntrack_netlink"}
    (modules / "modules.builtin").write_text("kernel/net/netfilter/nf-conntrack-netlink.ko\n")
    (modules.parents[2] / "sys/module/nf_flow_table_inet").mkdir(parents=True)
    assert missing(modules) == set()


def test_no_modules_at_all_is_a_container_and_no_finding(modules: Path) -> None:
    assert missing(modules) == set()
