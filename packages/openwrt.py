# SPDX-License-Identifier: GPL-2.0-or-later
"""What packages for OpenWrt's two packagers have in common."""

from __future__ import annotations

from collections.abc import Iterable

from packages.archive import Entry
from packages.description import Package

VERSION = b"@VERSION@"

# OpenWrt's functions.sh does what every package needs: enable and start services, and so on.
FIRST_LINE = "#!/bin/sh\n"
NOT_ASKED = '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'
PREPARED = """\
[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. ${IPKG_INSTROOT}/lib/functions.sh
"""


def entries(package: Package, version: str) -> list[Entry]:
    """The files that it installs; procd's script has to know the version."""
    return [
        Entry(file.target, file.mode, file.source.read_bytes().replace(VERSION, version.encode()))
        for file in package.files
    ]


def scripts(package: Package) -> dict[str, str]:
    """The package's own scripts by the moment when they are run, without the first line."""
    return {path.name: path.read_text().partition("\n")[2] for path in package.scripts}


def lines(items: Iterable[str]) -> bytes:
    return "".join(f"{item}\n" for item in items).encode()
