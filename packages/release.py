# SPDX-License-Identifier: GPL-2.0-or-later
"""The version, its time, and the places that have to agree on them.

The version is the program's own (daemon/flowguard/__init__.py).
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from packages.description import FEED, MAINTAINER, RELEASE, ROOT, URL

PROGRAM = ROOT / "daemon" / "flowguard" / "__init__.py"
CHANGES = ROOT / "CHANGELOG.md"
MAKEFILE = FEED / "flowguard" / "Makefile"


class Mismatch(Exception):
    """Two places say different things; the message names them."""


def version() -> str:
    return _found(PROGRAM, r'^__version__ = "(.*)"$')


def packaged_version() -> str:
    """With the number of the packaging, as OpenWrt writes it."""
    return f"{version()}-r{RELEASE}"


def check() -> None:
    """Raises Mismatch where the change log or the feed's Makefile says something else."""
    stated = [
        (CHANGES, r"^## (\S+)", version()),
        (MAKEFILE, "^PKG_VERSION:=(.*)$", version()),
        (MAKEFILE, "^PKG_RELEASE:=(.*)$", str(RELEASE)),
        (MAKEFILE, "^PKG_MAINTAINER:=(.*)$", MAINTAINER),
        (MAKEFILE, "^  URL:=(.*)$", URL),
    ]
    for path, pattern, expected in stated:
        if (found := _found(path, pattern)) != expected:
            where = path.relative_to(ROOT)
            raise Mismatch(f"{where} says {found}, and {expected} is expected there")


def packaged_hash() -> str:
    """The digest of the release's tarball that the feed's Makefile expects."""
    return _found(MAKEFILE, "^PKG_HASH:=(.*)$")


def time(*paths: str) -> int:
    """Seconds since 1970: SOURCE_DATE_EPOCH, or of the last commit that changed these paths.

    The change log's own time where there is no repository: a tarball gives it the right one.
    """
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct", "--", *(paths or (".",))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return int(CHANGES.stat().st_mtime)
    return int(done.stdout) if done.stdout else int(CHANGES.stat().st_mtime)


def _found(path: Path, pattern: str) -> str:
    found = re.search(pattern, path.read_text(), re.MULTILINE)
    if not found:
        raise Mismatch(f"{path.relative_to(ROOT)} has no line like {pattern}")
    return found[1]
