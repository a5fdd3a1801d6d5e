# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages for apk 3 (OpenWrt from 25.12), as include/package-pack.mk of OpenWrt makes them.

Source of the fields: apk-package(5), apk-v3(5) and the schemas in src/apk_adb.c of apk-tools 3.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath

from packages import adb, openwrt
from packages.adb import NULL, Values
from packages.archive import Entry, folders
from packages.description import LICENSE, MAINTAINER, URL, Package

MAGIC_DEFLATED, MAGIC, SCHEMA = b"ADBd", b"ADB.", b"pckg"
RAW_DEFLATE = -15
IDENTITY_SIZE = 20
LISTS = "/lib/apk/packages"

NAMED = 'export root="${IPKG_INSTROOT}"\nexport pkgname="%s"\n'
UPGRADE = "export PKG_UPGRADE=1\n"


def build(package: Package, version: str, time: int) -> bytes:
    """The file's bytes; `time` is in seconds since 1970."""
    entries = openwrt.entries(package, version)
    entries += _lists(package, entries)
    values = Values()
    files = _by_folder(entries)
    identity, place = values.room(IDENTITY_SIZE)
    root = values.record(
        [
            _information(values, package, version, entries, identity),
            values.record([_folder(values, name, files[name], time) for name in files]),
            values.record([values.text(script) for script in _scripts(package)]),
        ]
    )
    # The package's identity is a digest of all this while it is still zero.
    digest = hashlib.sha256(values.finished(root)).digest()
    values.fill(place, digest[:IDENTITY_SIZE])
    plain = MAGIC + SCHEMA + adb.block(adb.BLOCK_OF_VALUES, values.finished(root)) + _data(files)
    packer = zlib.compressobj(9, zlib.DEFLATED, RAW_DEFLATE)
    return MAGIC_DEFLATED + packer.compress(plain) + packer.flush()


def _information(
    values: Values, package: Package, version: str, entries: Sequence[Entry], identity: int
) -> int:
    depends = [values.record([values.text(name)]) for name in sorted(package.depends)]
    return values.record(
        [
            values.text(package.name),
            values.text(version),
            identity,
            values.text(package.description),
            values.text("noarch"),
            values.text(LICENSE),
            values.text(package.name),  # the origin: all of one origin are of one source
            values.text(MAINTAINER),
            values.text(URL),
            NULL,  # the commit of the repository
            NULL,  # the time of the build
            values.integer(sum(len(entry.content) for entry in entries)),
            NULL,  # the size of the file, which only an index tells
            NULL,  # the priority as a provider
            values.record(depends),
        ]
    )


def _by_folder(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    files: dict[str, list[Entry]] = {name: [] for name in ("", *folders(entries))}
    for entry in sorted(entries, key=lambda entry: entry.path):
        files[str(PurePosixPath(entry.path.lstrip("/")).parent).removeprefix(".")].append(entry)
    return files


def _folder(values: Values, name: str, entries: Sequence[Entry], time: int) -> int:
    files = [_file(values, entry, time) for entry in entries]
    return values.record([values.text(name), _owner(values, 0o755), values.record(files)])


def _file(values: Values, entry: Entry, time: int) -> int:
    return values.record(
        [
            values.text(PurePosixPath(entry.path).name),
            _owner(values, entry.mode),
            values.integer(len(entry.content)),
            values.integer(time),
            values.blob(hashlib.sha256(entry.content).digest()),
        ]
    )


def _owner(values: Values, mode: int) -> int:
    return values.record([values.integer(mode), values.text("root"), values.text("root")])


def _data(files: dict[str, list[Entry]]) -> bytes:
    """What is in the files; each has the number of its folder and its own there, from 1."""
    parts = []
    for in_folder, entries in enumerate(files.values(), 1):
        for number, entry in enumerate(entries, 1):
            if entry.content:
                place = adb.WORD.pack(in_folder) + adb.WORD.pack(number)
                parts.append(adb.block(adb.BLOCK_OF_DATA, place + entry.content))
    return b"".join(parts)


def _lists(package: Package, entries: Sequence[Entry]) -> list[Entry]:
    """What OpenWrt's scripts look up: every file, and what users may change with its digest."""
    conffiles = [file.target for file in package.files if file.conffile]
    contents = {entry.path: entry.content for entry in entries}
    digests = [f"{name} {hashlib.sha256(contents[name]).hexdigest()}" for name in conffiles]
    name = f"{LISTS}/{package.name}"
    return [
        Entry(f"{name}.list", 0o644, openwrt.lines(sorted(contents))),
        Entry(f"{name}.conffiles", 0o644, openwrt.lines(conffiles)),
        Entry(f"{name}.conffiles_static", 0o644, openwrt.lines(digests)),
    ]


def _scripts(package: Package) -> tuple[str, ...]:
    """In the format's order: trigger, and before and after an installation, a removal, an
    upgrade. Those that are run before or after everything of OpenWrt's functions.sh."""
    own = openwrt.scripts(package)
    named = NAMED % package.name
    installed = (
        openwrt.NOT_ASKED + openwrt.PREPARED + named + "add_group_and_user\ndefault_postinst\n"
    )
    removed = openwrt.PREPARED + named + "default_prerm\n" + own.get("prerm", "")
    before = own.get("preinst", "")
    scripts = (
        "",
        before,
        installed + own.get("postinst", ""),
        removed,
        own.get("postrm", ""),
        before and UPGRADE + before,
        UPGRADE + installed + own.get("postinst", ""),
    )
    return tuple(script and openwrt.FIRST_LINE + script for script in scripts)
