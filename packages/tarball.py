# SPDX-License-Identifier: GPL-2.0-or-later
"""The release's source, which the feed's Makefile downloads.

It does not hold that Makefile, which has the tarball's digest in it.
"""

from __future__ import annotations

import os

from packages import release
from packages.archive import Entry, tar_gz
from packages.description import FEED, ROOT
from packages.release import git

CONTENTS = (".", f":!{FEED.name}")


class Unclean(Exception):
    """The work tree is not what was committed; the message says what to do."""


def build(version: str) -> bytes:
    """The file's bytes. Raises Unclean, and release.Unknown outside of a repository: what is
    released has to be a commit."""
    if not (ROOT / ".git").exists():
        raise release.Unknown("a tarball is made of a commit, and this is no repository")
    if git("rev-parse", "--is-shallow-repository").strip() == "true" and not os.environ.get(
        "SOURCE_DATE_EPOCH"
    ):
        raise release.Unknown(
            "this clone has no history that tells when it was committed: fetch it"
        )
    if git("status", "--porcelain", "--", *CONTENTS):
        raise Unclean("a tarball is made of a commit: commit or stash your changes first")
    names = git("ls-files", "-z", "--", *CONTENTS).split("\0")
    entries = [_entry(name) for name in names if name]
    return tar_gz(entries, release.time(*CONTENTS), f"flowguard-{version}")


def _entry(name: str) -> Entry:
    path = ROOT / name
    mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    return Entry(name, mode, path.read_bytes())
