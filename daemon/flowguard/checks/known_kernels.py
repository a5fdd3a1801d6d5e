# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's version against what is known to be bad, and its modules."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator

from flowguard.checks.finding import Finding, Grade
from flowguard.core.records import frozen
from flowguard.kernel.route.links import links, scan

DATA = os.path.join(os.path.dirname(__file__), "kernels.toml")
PACKAGES = {
    "nft_flow_offload": "kmod-nft-offload",
    "nf_flow_table_inet": "kmod-nft-offload",
    "nft_numgen": "kmod-nft-core",
    "nf_conntrack_netlink": "kmod-nf-conntrack-netlink",
}
"""The modules without which nothing goes, and where OpenWrt has them."""

Version = tuple[int, ...]


@frozen
class BadKernel:
    """One entry of kernels.toml, where each field is explained; empty fields match all."""

    code: str
    ranges: tuple[tuple[Version, Version], ...]
    sentence: str
    remedy: str
    drivers: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    built_before: str = ""


@frozen
class Machine:
    """What an entry is compared with; `built` is a day like 2026-06-03, empty if not known."""

    release: str
    built: str
    drivers: frozenset[str]
    modules: frozenset[str]


def check_version() -> Iterator[Finding]:
    """This machine's kernel."""
    machine = this_machine()
    found = [bad for bad in load(DATA) if concerns(bad, machine)]
    for bad in found:
        sentence = f"Linux {machine.release}: {bad.sentence}"
        yield Finding(Grade.WARNING, bad.code, sentence, bad.remedy)
    if not found:
        yield Finding(Grade.FINE, "kernel", f"nothing bad is known of Linux {machine.release}")


def check_modules(root: str = "/", release: str = "") -> Iterator[Finding]:
    """Modules that are neither loaded nor to be found; where there are none at all, nothing."""
    folder = os.path.join(root, "lib", "modules", release or os.uname().release)
    available = set(_modules_of(folder))
    if not available:
        return
    for module in sorted(set(PACKAGES) - available):
        if not os.path.isdir(os.path.join(root, "sys", "module", module)):
            sentence = f"kernel module {module} is not there"
            remedy = f"install {PACKAGES[module]} (OpenWrt), or load {module}"
            yield Finding(Grade.ERROR, "modules", sentence, remedy)


def load(path: str) -> list[BadKernel]:
    """The known bad kernels; raises OSError and tomllib.TOMLDecodeError."""
    import tomllib

    with open(path, "rb") as file:
        entries = tomllib.load(file)["kernel"]
    return [
        BadKernel(
            code=entry["code"],
            ranges=tuple((version(first), version(good)) for first, good in entry["ranges"]),
            sentence=entry["sentence"],
            remedy=entry["remedy"],
            drivers=frozenset(entry.get("drivers", ())),
            modules=frozenset(entry.get("modules", ())),
            built_before=entry.get("built_before", ""),
        )
        for entry in entries
    ]


def concerns(bad: BadKernel, machine: Machine) -> bool:
    """Whether the entry is about this machine; where it cannot be known, it is."""
    release = version(machine.release)
    return (
        any(first <= release < good for first, good in bad.ranges)
        and (not bad.drivers or bool(bad.drivers & machine.drivers))
        and (not bad.modules or bool(bad.modules & machine.modules))
        and (not bad.built_before or machine.built < bad.built_before)
    )


def version(text: str) -> Version:
    """The numbers that a kernel release begins with: (6, 12, 94) of 6.12.94+deb13-amd64."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


def this_machine(sys: str = "/sys") -> Machine:
    """The running kernel, and the drivers and modules in use."""
    system = os.uname()
    devices = scan([link.name for link in links(sys)], sys).devices
    drivers = frozenset(device.driver for device in devices if device.driver)
    try:
        modules = frozenset(os.listdir(os.path.join(sys, "module")))
    except OSError:
        modules = frozenset()
    return Machine(system.release, build_day(system.version), drivers, modules)


def build_day(text: str) -> str:
    """The day in `uname -v`, like `#0 SMP Tue Jun  2 12:00:00 2026`; empty without one."""
    match = re.search(r"([A-Z][a-z]{2}) +(\d+) [\d:]+ (?:[A-Z]+ )?(\d{4})", text)
    try:
        day = time.strptime(" ".join(match.groups()), "%b %d %Y") if match else None
    except ValueError:
        day = None
    return time.strftime("%Y-%m-%d", day) if day else ""


def _modules_of(folder: str) -> Iterable[str]:
    """OpenWrt keeps all modules in one folder, others in a tree with a list (depmod(8)).

    Some are built in. The service must not wait for a walk through thousands of files.
    """
    with contextlib.suppress(OSError):
        yield from (_module(name) for name in os.listdir(folder) if ".ko" in name)
    for name in ("modules.dep", "modules.builtin"):
        with contextlib.suppress(OSError), open(os.path.join(folder, name)) as file:
            yield from (_module(os.path.basename(line.split(":")[0])) for line in file)


def _module(file_name: str) -> str:
    """Files may be compressed, and spell a module's name with either dash."""
    return file_name.split(".ko")[0].replace("-", "_")
