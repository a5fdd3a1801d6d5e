# SPDX-License-Identifier: GPL-2.0-or-later
"""This machine's kernel against what is known to be bad, and its modules."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from flowguard.checks.bad_kernels import BAD_KERNELS, ThisKernel, concerns
from flowguard.checks.finding import Finding, Grade
from flowguard.core.model import Level
from flowguard.core.records import replace
from flowguard.kernel.machine import Files, Machine

PACKAGES = {
    "nft_flow_offload": "kmod-nft-offload",
    "nf_flow_table_inet": "kmod-nft-offload",
    "nft_hash": "kmod-nft-core",
    "nf_conntrack_netlink": "kmod-nf-conntrack-netlink",
}
"""The modules without which nothing goes, and where OpenWrt has them."""

OPENWRT = "/etc/openwrt_release"

FAST_PATHS = ("shortcut_fe", "fast_classifier", "qca_nss_ecm", "natflow")
"""Kernel modules that take flows away from the stack, and so from flowtables."""


async def check_version(machine: Machine) -> list[Finding]:
    """This machine's kernel."""
    kernel = await this_kernel(machine)
    found = [bad for bad in BAD_KERNELS if concerns(bad, kernel)]
    if not found:
        sentence = f"nothing bad is known of Linux {kernel.release}"
        return [Finding(Grade.FINE, "kernel", sentence)]
    told = f"Linux {kernel.release}"
    return [Finding(b.grade, b.code, f"{told}: {b.sentence}", b.remedy) for b in found]


def software_drops(machine: Machine) -> str:
    """Why the software level must not be used on this machine; "" where nothing bad is known.

    Nothing is asked that may hang: at a start the guards of hardware wait for it.
    """
    kernel = _version_of(machine)
    for bad in BAD_KERNELS:
        if bad.loses_at is Level.SOFTWARE and concerns(bad, kernel):
            return f"Linux {kernel.release}: {bad.sentence}"
    return ""


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


async def this_kernel(machine: Machine) -> ThisKernel:
    """The running kernel, and the drivers and modules in use."""
    network, files = machine.network, machine.files
    names = [link.name for link in await network.links({})]
    devices = (await network.scan(names, {})).devices
    named = frozenset(module for bad in BAD_KERNELS for module in bad.modules)
    return replace(
        _version_of(machine),
        drivers=frozenset(device.driver for device in devices if device.driver),
        modules=frozenset(module for module in named if files.exists(f"/sys/module/{module}")),
    )


def _version_of(machine: Machine) -> ThisKernel:
    built = build_day(_text(machine.files, "/proc/version"))
    openwrt = machine.files.exists(OPENWRT)
    return ThisKernel(machine.release, built, frozenset(), frozenset(), openwrt)


def build_day(text: str) -> str:
    """The day in /proc/version, as in `#0 SMP Tue Jun  2 12:00:00 2026`; empty without one."""
    match = re.search(r"([A-Z][a-z]{2}) +(\d+) [\d:]+ (?:[A-Z]+ )?(\d{4})", text)
    try:
        day = time.strptime(" ".join(match.groups()), "%b %d %Y") if match else None
    except ValueError:
        day = None
    return time.strftime("%Y-%m-%d", day) if day else ""
