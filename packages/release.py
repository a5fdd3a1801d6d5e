# SPDX-License-Identifier: GPL-2.0-or-later
"""The version, its time, and the places that have to agree on them.

The version is the program's own (daemon/flowguard/__init__.py).
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from packages.description import FEED, LUCI_APP, MAINTAINER, RELEASE, ROOT, URL

PROGRAM = ROOT / "daemon" / "flowguard" / "__init__.py"
CHANGES = ROOT / "CHANGELOG.md"
MAKEFILE = FEED / "flowguard" / "Makefile"
LUCI_MAKEFILE = LUCI_APP / "Makefile"


class Mismatch(Exception):
    """Two places say different things; the message names them."""


class Unknown(Exception):
    """There is no commit, or no way to know it; the message says why."""


def version() -> str:
    return _found(PROGRAM, r'^__version__ = "(.*)"$')


def packaged_version() -> str:
    """With the number of the packaging, as OpenWrt writes it."""
    return f"{version()}-r{RELEASE}"


def check() -> None:
    """Raises Mismatch where the change log or one of the feed's Makefiles says something else.

    The release's tarball, of which a Debian package can be built, is without the feed.
    """
    stated = [(CHANGES, r"^## (\S+)", version()), *(_stated_by_the_feed() if FEED.exists() else ())]
    for path, pattern, expected in stated:
        if (found := _found(path, pattern)) != expected:
            where = path.relative_to(ROOT)
            raise Mismatch(f"{where} says {found}, and {expected} is expected there")


def _stated_by_the_feed() -> list[tuple[Path, str, str]]:
    shared = [
        ("^PKG_VERSION:=(.*)$", version()),
        ("^PKG_RELEASE:=(.*)$", str(RELEASE)),
        ("^PKG_MAINTAINER:=(.*)$", MAINTAINER),
    ]
    return [
        *((path, *stated) for path in (MAKEFILE, LUCI_MAKEFILE) for stated in shared),
        (MAKEFILE, "^PKG_SOURCE_URL:=(.*)$", f"{URL}/releases"),
        (MAKEFILE, "^  URL:=(.*)$", URL),
        (LUCI_MAKEFILE, "^LUCI_URL:=(.*)$", URL),
    ]


def packaged_hash() -> str:
    """The digest of the release's tarball that the feed's Makefile expects."""
    return _found(MAKEFILE, "^PKG_HASH:=(.*)$")


def time(*paths: str) -> int:
    """Seconds since 1970: SOURCE_DATE_EPOCH, or of the last commit that changed these paths.

    The change log's own time where there is no repository: a tarball gives it the right one.
    Raises Mismatch for a SOURCE_DATE_EPOCH that is no number.
    """
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        if not given.isdecimal():
            raise Mismatch(f"SOURCE_DATE_EPOCH says {given}, and a number is expected there")
        return int(given)
    if not (ROOT / ".git").exists():
        return int(CHANGES.stat().st_mtime)
    return int(git("log", "-1", "--format=%ct", "--", *(paths or (".",))))


def git(*words: str) -> str:
    """What git says of this tree, whoever owns it; raises Unknown when it cannot."""
    command = ["git", "-C", str(ROOT), "-c", f"safe.directory={ROOT}", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unknown("git is not installed, and only it knows the last commit") from None
    if done.returncode:
        raise Unknown(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout


def _found(path: Path, pattern: str) -> str:
    found = re.search(pattern, path.read_text(), re.MULTILINE)
    if not found:
        raise Mismatch(f"{path.relative_to(ROOT)} has no line like {pattern}")
    return found[1]
