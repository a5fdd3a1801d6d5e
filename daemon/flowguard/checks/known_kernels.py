# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's version against what is known to be bad, and its modules."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from flowguard.checks.finding import Finding, Grade
from flowguard.core.records import frozen
from flowguard.kernel.machine import Files, Machine

PACKAGES = {
    "nft_flow_offload": "kmod-nft-offload",
    "nf_flow_table_inet": "kmod-nft-offload",
    "nft_hash": "kmod-nft-core",
    "nf_conntrack_netlink": "kmod-nf-conntrack-netlink",
}
"""The modules without which nothing goes, and where OpenWrt has them."""

FAST_PATHS = ("shortcut_fe", "fast_classifier", "qca_nss_ecm", "natflow")
"""Kernel modules that take flows away from the stack, and so from flowtables."""

Version = tuple[int, ...]


@frozen
class BadKernel:
    """Kernels that are known to break offloading.

    An entry counts when the kernel's version is in one of `ranges` (the first that is bad, the
    first that is good) and, where they are given, one of `drivers` moves a port's packets, one
    of `modules` is loaded, and the kernel was built before the day `built_before`
    (distributions repair without a new version). `source` is where that is from.
    """

    code: str
    ranges: tuple[tuple[Version, Version], ...]
    sentence: str
    remedy: str
    source: str
    drivers: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    built_before: str = ""


BAD_KERNELS = (
    BadKernel(
        "kernel-timeouts",
        (((2, 6), (5, 15)),),
        "offloaded connections that are idle for two minutes die, in software too",
        "update to a kernel of 5.15 or later",
        "https://github.com/openwrt/openwrt/issues/10422",
    ),
    BadKernel(
        "kernel-extend-timeout",
        (((6, 18), (6, 19)),),
        "connection tracking forgets hardware flows after 300 s, and they break",
        "update OpenWrt (repaired in June 2026), or set option level 'software'",
        "https://github.com/openwrt/openwrt/pull/23611",
        drivers=frozenset({"mtk_soc_eth"}),
        built_before="2026-06-03",
    ),
    BadKernel(
        "kernel-mtk-l2tp",
        (((5, 13), (6, 12, 94)), ((6, 13), (6, 18, 22)), ((6, 19), (7, 0))),
        "traffic through L2TP makes the driver's offloading crash the kernel",
        "update to 6.12.94 or 6.18.22, or set option level 'software'",
        "https://github.com/openwrt/openwrt/issues/20869",
        drivers=frozenset({"mtk_soc_eth"}),
        modules=frozenset({"l2tp_ppp", "pppol2tp"}),
    ),
)


@frozen
class ThisKernel:
    """What an entry is compared with; `built` is a day like 2026-06-03, empty if not known."""

    release: str
    built: str
    drivers: frozenset[str]
    modules: frozenset[str]


async def check_version(machine: Machine) -> list[Finding]:
    """This machine's kernel."""
    kernel = await this_kernel(machine)
    found = [bad for bad in BAD_KERNELS if concerns(bad, kernel)]
    if not found:
        sentence = f"nothing bad is known of Linux {kernel.release}"
        return [Finding(Grade.FINE, "kernel", sentence)]
    told = f"Linux {kernel.release}"
    return [Finding(Grade.WARNING, b.code, f"{told}: {b.sentence}", b.remedy) for b in found]


def check_modules(machine: Machine) -> Iterator[Finding]:
    """Modules that are neither loaded nor to be found; in a container, without any, nothing."""
    files, folder = machine.files, f"/lib/modules/{machine.release}"
    if not files.exists(folder):
        return
    listed = _text(files, f"{folder}/modules.dep") + _text(files, f"{folder}/modules.builtin")
    for module in sorted(PACKAGES):
        # OpenWrt keeps them all in one folder, others in a tree with a list (depmod(8)).
        if not (
            files.exists(f"/sys/module/{module}")
            or files.exists(f"{folder}/{module}.ko")
            or _is_listed(module, listed)
        ):
            sentence = f"kernel module {module} is not there"
            remedy = f"install {PACKAGES[module]} (OpenWrt), or load {module}"
            yield Finding(Grade.ERROR, "modules", sentence, remedy)


def check_fast_paths(files: Files) -> Iterator[Finding]:
    for module in FAST_PATHS:
        if files.exists(f"/sys/module/{module}"):
            sentence = f"kernel module {module} takes flows past the flowtables"
            yield Finding(Grade.ERROR, "fast-path", sentence, f"unload {module}, or stop flowguard")


def _is_listed(module: str, listed: str) -> bool:
    """Files may be compressed, and spell a module's name with either dash."""
    return bool(re.search(rf"/{module.replace('_', '[_-]')}\.ko[.:\s]", listed))


def _text(files: Files, path: str) -> str:
    try:
        return files.read(path)
    except (OSError, ValueError):
        return ""


def concerns(bad: BadKernel, kernel: ThisKernel) -> bool:
    """Whether the entry is about this kernel; where it cannot be known, it is."""
    release = version(kernel.release)
    return (
        any(first <= release < good for first, good in bad.ranges)
        and (not bad.drivers or bool(bad.drivers & kernel.drivers))
        and (not bad.modules or bool(bad.modules & kernel.modules))
        and (not bad.built_before or kernel.built < bad.built_before)
    )


def version(text: str) -> Version:
    """The numbers that a kernel release begins with: (6, 12, 94) of 6.12.94+deb13-amd64."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


async def this_kernel(machine: Machine) -> ThisKernel:
    """The running kernel, and the drivers and modules in use."""
    network, files = machine.network, machine.files
    names = [link.name for link in await network.links({})]
    devices = (await network.scan(names, {})).devices
    named = frozenset(module for bad in BAD_KERNELS for module in bad.modules)
    return ThisKernel(
        machine.release,
        build_day(_text(files, "/proc/version")),
        frozenset(device.driver for device in devices if device.driver),
        frozenset(module for module in named if files.exists(f"/sys/module/{module}")),
    )


def build_day(text: str) -> str:
    """The day in /proc/version, as in `#0 SMP Tue Jun  2 12:00:00 2026`; empty without one."""
    match = re.search(r"([A-Z][a-z]{2}) +(\d+) [\d:]+ (?:[A-Z]+ )?(\d{4})", text)
    try:
        day = time.strptime(" ".join(match.groups()), "%b %d %Y") if match else None
    except ValueError:
        day = None
    return time.strftime("%Y-%m-%d", day) if day else ""
