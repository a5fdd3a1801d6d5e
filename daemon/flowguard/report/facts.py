# SPDX-License-Identifier: GPL-2.0-or-later
"""Which machine and which system it is, from where OpenWrt and PCs tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flowguard.core.records import frozen
from flowguard.kernel.machine import Files, Machine
from flowguard.report.document import Section

TAINTED = "kernel/tainted"


@frozen
class _Source:
    """The first file that there is says it; of more than one line only `wanted` words count."""

    label: str
    paths: tuple[str, ...]


# /tmp/sysinfo is OpenWrt's; the device tree is of SoCs, DMI of PCs (Documentation/ABI).
_SOURCES = (
    _Source(
        "model",
        ("/tmp/sysinfo/model", "/proc/device-tree/model", "/sys/class/dmi/id/product_name"),
    ),
    _Source("maker", ("/sys/class/dmi/id/sys_vendor",)),
    _Source("board", ("/tmp/sysinfo/board_name", "/sys/class/dmi/id/board_name")),
    _Source("firmware", ("/sys/class/dmi/id/bios_version",)),
    _Source("SoC", ("/proc/device-tree/compatible",)),
    _Source("kernel", ("/proc/version",)),
)
_RELEASES = {
    "/etc/openwrt_release": (
        "DISTRIB_DESCRIPTION",
        "DISTRIB_REVISION",
        "DISTRIB_TARGET",
        "DISTRIB_ARCH",
    ),
    "/etc/os-release": ("PRETTY_NAME", "VERSION", "BUILD_ID"),
}
_PROCESSOR = ("system type", "machine", "Hardware", "model name", "cpu model")


def machine_section(machine: Machine) -> Section:
    lines = [f"- {label}: {value}" for label, value in _facts(machine)]
    return Section("Machine", tuple(lines))


def _facts(machine: Machine) -> Iterator[tuple[str, str]]:
    files = machine.files
    for source in _SOURCES:
        if value := next(filter(None, (_text(files, path) for path in source.paths)), ""):
            yield source.label, value
    cpuinfo = _fields(_text(files, "/proc/cpuinfo"), ":")
    if processor := next((cpuinfo[name] for name in _PROCESSOR if name in cpuinfo), ""):
        yield "processor", processor
    if memory := _fields(_text(files, "/proc/meminfo"), ":").get("MemTotal"):
        yield "memory", memory
    for path, names in _RELEASES.items():
        fields = _fields(_text(files, path), "=")
        if told := [fields[name] for name in names if name in fields]:
            yield path, ", ".join(dict.fromkeys(told))
    yield "kernel's release", machine.release
    yield "kernel is tainted", _taint(machine)


def _taint(machine: Machine) -> str:
    """See Documentation/admin-guide/tainted-kernels.rst."""
    try:
        value = machine.sysctls.get(TAINTED)
    except OSError as error:
        return f"not known: {error.strerror or error}"
    return "not known" if value is None else f"{value}" if value else "no"


def _fields(text: str, separator: str) -> Mapping[str, str]:
    """Lines `NAME=value`; the first of a name counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, parted, value = line.partition(separator)
        if parted:
            found.setdefault(name.strip(), value.strip().strip("\"'"))
    return found


def _text(files: Files, path: str) -> str:
    try:
        # Strings of the device tree end with NUL.
        return files.read(path).replace("\0", " ").strip()
    except (OSError, ValueError):
        return ""
