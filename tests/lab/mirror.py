# SPDX-License-Identifier: GPL-2.0-or-later
"""Where this machine gets Debian packages from, read out of its own apt sources.

Formats: sources.list(5), one-line (`*.list`) and deb822 (`*.sources`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ROLLING = {"stable", "oldstable", "testing", "unstable", "sid"}
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)")


class MirrorError(Exception):
    """This machine's apt sources name no Debian mirror."""


@dataclass(frozen=True, slots=True)
class AptSource:
    """One mirror; `signed_by` is None when apt's trusted keys vouch for it."""

    uri: str
    suites: tuple[str, ...]
    signed_by: str | None

    def line(self, suite: str) -> str:
        """The one-line source for another suite of the same mirror."""
        signed_by = self.signed_by
        if signed_by is None and _KEYRING.exists():
            signed_by = str(_KEYRING)
        option = f"[signed-by={signed_by}] " if signed_by else ""
        return f"deb {option}{self.uri} {suite} main"


def debian_source(root: Path = Path("/")) -> AptSource:
    """The mirror of the release itself (not of its security updates); raises MirrorError."""
    release = _os_release(root / "etc/os-release")
    if release.get("ID") != "debian":
        raise MirrorError(f"this is {release.get('PRETTY_NAME', 'not Debian')}, not Debian")
    suites = _ROLLING | {release.get("VERSION_CODENAME", "")}
    for source in _sources(root / "etc/apt"):
        if suites.intersection(source.suites):
            return source
    raise MirrorError(f"no Debian mirror in {root / 'etc/apt'}")


def parse_one_line(text: str) -> Iterator[AptSource]:
    for line in text.splitlines():
        match = _ONE_LINE.match(line.strip())
        if match:
            signed_by = re.search(r"signed-by=(/\S+)", match["options"] or "", re.IGNORECASE)
            yield AptSource(match["uri"], (match["suite"],), signed_by and signed_by[1])


def parse_deb822(text: str) -> Iterator[AptSource]:
    without_comments = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields = {
            name.lower(): " ".join(value.split())
            for name, value in re.findall(r"^([\w-]+):((?:.*\n?)(?:[ \t].*\n?)*)", stanza, re.M)
        }
        wanted = "deb" in fields.get("types", "").split()
        if not wanted or fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        signed_by = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            suites = tuple(fields.get("suites", "").split())
            # A key written out in the source cannot be named on one line.
            yield AptSource(uri, suites, signed_by if signed_by.startswith("/") else None)


def _sources(apt: Path) -> Iterator[AptSource]:
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if file.suffix == ".sources":
            yield from parse_deb822(file.read_text())
        elif file.suffix == ".list" and file.exists():
            yield from parse_one_line(file.read_text())


def _os_release(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    pairs = (line.partition("=") for line in file.read_text().splitlines() if "=" in line)
    return {name: value.strip("\"'") for name, _, value in pairs}
