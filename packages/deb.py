# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages for Debian and its children (deb(5))."""

from __future__ import annotations

import hashlib
import textwrap
from email.utils import formatdate

from packages.archive import Entry, ar, gz, tar_gz
from packages.description import MAINTAINER, URL, File, Package

FORMAT = b"2.0\n"
WIDTH = 78


def build(package: Package, version: str, time: int) -> bytes:
    """The file's bytes; `time` is in seconds since 1970."""
    entries = [_entry(file) for file in package.files]
    entries.append(_changes(package, version, time))
    sums = [f"{hashlib.md5(e.content).hexdigest()}  {e.path.lstrip('/')}" for e in entries]
    conffiles = [file.target for file in package.files if file.conffile]
    size = sum(len(entry.content) for entry in entries)
    control = [
        Entry("control", 0o644, _fields(package, version, size)),
        Entry("conffiles", 0o644, _lines(conffiles)),
        Entry("md5sums", 0o644, _lines(sums)),
        *(Entry(path.name, 0o755, path.read_bytes()) for path in package.scripts),
    ]
    parts = [
        Entry("debian-binary", 0o644, FORMAT),
        Entry("control.tar.gz", 0o644, tar_gz(control, time)),
        Entry("data.tar.gz", 0o644, tar_gz(entries, time)),
    ]
    return ar(parts, time)


def _entry(file: File) -> Entry:
    """Debian keeps manuals and change logs compressed."""
    content = file.source.read_bytes()
    if file.target.endswith(".gz"):
        content = gz(content)
    return Entry(file.target, file.mode, content)


def _changes(package: Package, version: str, time: int) -> Entry:
    """Of the packaging, in Debian's own form; the program's are beside it."""
    text = (
        f"{package.name} ({version}) unstable; urgency=medium\n\n"
        "  * See changelog.gz.\n\n"
        f" -- {MAINTAINER}  {formatdate(time)}\n"
    )
    path = f"/usr/share/doc/{package.name}/changelog.Debian.gz"
    return Entry(path, 0o644, gz(text.encode()))


def _fields(package: Package, version: str, size: int) -> bytes:
    description = [f" {line}" for line in textwrap.wrap(package.description, WIDTH)]
    return _lines(
        [
            f"Package: {package.name}",
            f"Version: {version}",
            "Architecture: all",
            f"Maintainer: {MAINTAINER}",
            f"Installed-Size: {-(-size // 1024)}",
            f"Depends: {', '.join(package.depends)}",
            f"Section: {package.section}",
            "Priority: optional",
            f"Homepage: {URL}",
            f"Description: {package.summary}",
            *description,
        ]
    )


def _lines(items: list[str]) -> bytes:
    return "".join(f"{item}\n" for item in items).encode()
