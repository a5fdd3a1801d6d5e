# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages for opkg (OpenWrt up to 24.10), as include/package-pack.mk and scripts/ipkg-build of
OpenWrt make them."""

from __future__ import annotations

from packages import openwrt
from packages.archive import Entry, tar_gz
from packages.description import LICENSE, MAINTAINER, URL, Package
from packages.openwrt import FIRST_LINE, NOT_ASKED, PREPARED

FORMAT = b"2.0\n"
INSTALLED = FIRST_LINE + NOT_ASKED + PREPARED + "default_postinst $0 $@\n"
REMOVED = FIRST_LINE + PREPARED + "default_prerm $0 $@\n"
# OpenWrt's functions.sh runs these from its own.
RUN_BY_OTHERS = frozenset({"postinst", "prerm"})


def build(package: Package, version: str, time: int) -> bytes:
    """The file's bytes; `time` is in seconds since 1970."""
    entries = openwrt.entries(package, version)
    installed_size = sum(len(entry.content) for entry in entries)
    conffiles = [file.target for file in package.files if file.conffile]
    control = [
        Entry("control", 0o644, _fields(package, version, installed_size)),
        Entry("conffiles", 0o644, openwrt.lines(conffiles)),
        Entry("postinst", 0o755, INSTALLED.encode()),
        Entry("prerm", 0o755, REMOVED.encode()),
    ]
    for moment, script in openwrt.scripts(package).items():
        name = f"{moment}-pkg" if moment in RUN_BY_OTHERS else moment
        control.append(Entry(name, 0o755, (FIRST_LINE + script).encode()))
    parts = [
        Entry("debian-binary", 0o644, FORMAT),
        Entry("data.tar.gz", 0o644, tar_gz(entries, time)),
        Entry("control.tar.gz", 0o644, tar_gz(control, time)),
    ]
    return tar_gz(parts, time)


def _fields(package: Package, version: str, installed_size: int) -> bytes:
    return openwrt.lines(
        [
            f"Package: {package.name}",
            f"Version: {version}",
            # opkg crashes of a field that is empty.
            *([f"Depends: {', '.join(package.depends)}"] if package.depends else []),
            f"SourceName: {package.name}",
            f"License: {LICENSE}",
            f"Section: {package.section}",
            f"URL: {URL}",
            f"Maintainer: {MAINTAINER}",
            "Architecture: all",
            f"Installed-Size: {installed_size}",
            f"Description: {package.description}",
        ]
    )
