# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bad kernels, and modules that are missing."""

from __future__ import annotations

import pytest

from flowguard.checks.bad_kernels import BAD_KERNELS, ThisKernel, concerns, version
from flowguard.checks.finding import Finding, Grade
from flowguard.checks.known_kernels import (
    FAST_PATHS,
    OPENWRT,
    PACKAGES,
    build_day,
    check_fast_paths,
    check_modules,
    check_version,
    software_drops,
)
from flowguard.core.model import Device
from flowguard.core.tables.topology import Kind, Link
from tests import virtual_time
from tests.sensors.machine import Parts

MEDIATEK = frozenset({"mtk_soc_eth"})
IGC = frozenset({"igc"})
L2TP = frozenset({"l2tp_ppp", "nf_conntrack"})
NONE: frozenset[str] = frozenset()


def codes(kernel: ThisKernel, *grades: Grade) -> set[str]:
    found = [bad for bad in BAD_KERNELS if concerns(bad, kernel)]
    return {bad.code.removeprefix("kernel-") for bad in found if bad.grade in grades}


def felt(
    release: str,
    built: str = "2026-01-01",
    drivers: frozenset[str] = MEDIATEK,
    modules: frozenset[str] = NONE,
    openwrt: bool = True,
) -> set[str]:
    """What a user feels of this kernel's bugs."""
    kernel = ThisKernel(release, built, drivers, modules, openwrt)
    return codes(kernel, Grade.WARNING, Grade.ERROR)


def noted(release: str, drivers: frozenset[str] = MEDIATEK) -> set[str]:
    return codes(ThisKernel(release, "", drivers, NONE), Grade.FINE)


def test_old_kernels_forget_idle_connections() -> None:
    assert felt("5.10.176") == {"timeouts"}
    assert felt("5.15.137") == felt("6.1.190") == set()


def test_hardware_flows_are_forgotten_from_6_14_on_until_each_branch_was_repaired() -> None:
    bad = ("6.14", "6.17.13", "6.18.0", "6.18.38", "6.19.6", "7.0.1", "7.1.3")
    good = ("6.12.112", "6.12.113", "6.13.5", "6.18.39", "7.1.4", "7.2")
    assert all("extend-timeout" in felt(release, openwrt=False) for release in bad)
    assert not any("extend-timeout" in felt(release, openwrt=False) for release in good)
    assert "extend-timeout" not in felt("6.18.30", drivers=IGC, openwrt=False)


def test_openwrt_repairs_its_kernels_by_the_day_and_others_do_not() -> None:
    assert felt("6.18.30", "2026-06-02") == {"extend-timeout"}
    assert felt("6.18.30", "2026-06-03") == set()
    assert felt("6.18.30", "") == {"extend-timeout"}
    assert felt("6.18.30", "2026-07-01", openwrt=False) == {"extend-timeout"}


def test_mediateks_driver_crashes_without_its_first_port_since_6_11() -> None:
    bad = ("6.11.2", "6.12.80", "6.13", "6.18.21", "6.19.11")
    good = ("6.10.9", "6.12.81", "6.12.94", "6.18.22", "6.19.12", "7.0-rc1")
    assert all("mtk-gmac0" in felt(release) for release in bad)
    assert not any("mtk-gmac0" in felt(release) for release in good)
    assert "mtk-gmac0" not in felt("6.12.80", drivers=IGC)


def test_openwrts_6_6_has_that_with_l2tp_only() -> None:
    assert felt("6.6.93", modules=L2TP) == {"mtk-gmac0"}
    assert felt("6.6.93") == felt("6.6.93", modules=L2TP, openwrt=False) == set()


def test_software_connections_are_dropped_by_some_kernels_of_openwrt() -> None:
    for release in ("6.18.45", "6.18.52"):
        assert felt(release, "2026-09-07", IGC) == {"xmit-neigh"}
        assert felt(release, "2026-09-08", IGC) == set()
        assert felt(release, "2026-09-01", IGC, openwrt=False) == set()
    assert felt("6.18.44", "2026-09-01", IGC) == felt("6.18.53", "2026-09-01", IGC) == set()


def test_what_crashes_once_in_a_long_while_is_a_note() -> None:
    old = {"hw-actions", "hw-dead", "flowtable-gc", "failed-probe"}
    assert noted("6.1.160") == noted("6.6.129") == noted("6.12.77") == noted("6.18.19") == old
    assert noted("6.1.189") == noted("6.12.112") == noted("6.18.55") == set()
    assert noted("6.6.153") == {"hw-dead"}
    assert noted("6.12.105") == {"hw-dead"}
    assert noted("6.12.100", IGC) == {"flowtable-gc"}
    assert noted("7.2.8") == {"hw-dead", "wifi-path"}
    assert noted("7.3.4") == set()


def looked_at(parts: Parts) -> list[Finding]:
    return virtual_time.run(check_version(parts.machine))


def machine(release: str, built: str = "Tue Jun  2 12:00:00 2026", openwrt: bool = True) -> Parts:
    parts = Parts(release)
    parts.network.add(Link("wan", Kind.PORT))
    parts.network.devices["wan"] = Device("wan", 2, driver="mtk_soc_eth")
    told = f"Linux version {release} (builder@host) (gcc 13.3.0) #0 SMP {built}\n"
    parts.files.texts["/proc/version"] = told
    if openwrt:
        parts.files.texts[OPENWRT] = "DISTRIB_ID='OpenWrt'"
    return parts


def test_this_machine_is_told_what_is_known_of_its_kernel() -> None:
    (fine,) = looked_at(machine("6.12.120"))
    assert (fine.code, fine.grade) == ("kernel", Grade.FINE)
    parts = machine("6.6.160")
    assert "kernel-mtk-gmac0" not in {f.code for f in looked_at(parts)}
    parts.files.texts["/sys/module/pppol2tp"] = ""
    finding = next(f for f in looked_at(parts) if f.code == "kernel-mtk-gmac0")
    assert finding.grade is Grade.WARNING
    assert finding.sentence.startswith("Linux 6.6.160: ") and finding.remedy


def test_a_kernel_that_was_repaired_without_a_new_version_is_known_by_its_day() -> None:
    def known(built: str, openwrt: bool = True) -> bool:
        found = looked_at(machine("6.18.30", built, openwrt))
        return "kernel-extend-timeout" in {f.code for f in found}

    assert known("Tue Jun  2 12:00:00 2026")
    assert not known("Wed Jun  3 12:00:00 2026")
    assert known("Wed Jun  3 12:00:00 2026", openwrt=False)


@pytest.mark.parametrize(
    ("release", "openwrt", "dropped"),
    [("6.18.48", True, True), ("6.18.48", False, False), ("6.18.30", True, False)],
)
def test_only_what_drops_connections_forbids_the_software_level(
    release: str, openwrt: bool, dropped: bool
) -> None:
    parts = machine(release, "Tue Sep  1 12:00:00 2026", openwrt)
    why = software_drops(parts.machine)
    assert bool(why) is dropped
    assert not why or "connections in software are dropped" in why


def test_every_entry_says_what_to_do_and_where_that_is_from() -> None:
    for bad in BAD_KERNELS:
        assert bad.code.startswith("kernel-") and bad.sentence and bad.remedy
        assert bad.source.startswith("https://")
        assert all(first < good for first, good in bad.ranges)
        assert not bad.loses_at or not (bad.drivers or bad.modules)


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
