# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages of another suite than this machine's, downloaded and not installed.

apt-get runs with a source list, package lists and cache of its own, so the machine's apt
configuration is only read: for the mirror and the keyring (sources.list(5)).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab.mirror import AptSource, MirrorError, debian_source

TOOLS = ("apt-get", "apt-cache", "dpkg")


class LabError(Exception):
    """Something the lab needs is missing; the text says what to install or do."""


class Apt:
    """apt-get against one suite, with all of its files in a directory of ours."""

    def __init__(self, directory: Path, source: AptSource, suite: str) -> None:
        self.directory = directory
        self.suite = suite
        for part in ("lists/partial", "cache/archives/partial", "archives"):
            (directory / part).mkdir(parents=True)
        sources = directory / "sources.list"
        sources.write_text(source.line(suite) + "\n")
        (directory / "status").touch()
        options = {
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": "-",
            "Dir::Etc::Preferences": "-",
            "Dir::Etc::PreferencesParts": "-",
            "Dir::State::Lists": directory / "lists",
            "Dir::State::Status": directory / "status",
            "Dir::Cache": directory / "cache",
            # The lists live where only this user may be able to write.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        self._options = [f"-o{name}={value}" for name, value in options.items()]

    def update(self) -> None:
        try:
            run("apt-get", *self._options, "-q", "--error-on=any", "update")
        except LabError as error:
            if "NO_PUBKEY" in str(error):
                raise LabError(_unknown_key(self.suite)) from error
            raise LabError(not_debian(str(error))) from error

    def packages(self) -> tuple[str, list[str]]:
        """The newest image package, and the packages that it and its headers consist of."""
        architecture = run("dpkg", "--print-architecture").strip()
        image = self._depends(f"linux-image-{architecture}", r"linux-image-\S+")
        headers = self._depends(f"linux-headers-{architecture}", r"linux-headers-\S+")
        if not image or not headers:
            raise LabError(not_debian(f"{self.suite} has no kernel for {architecture}"))
        # Since Linux 7 a kernel's image and modules are packages of their own.
        parts = self._depends(image[0], r"linux-(?:base|binary|modules)-\d\S+")
        parts += self._depends(headers[0], r"linux-(?:headers|kbuild)-\S+")
        return image[0], [headers[0], *parts]

    def download(self, packages: list[str]) -> list[Path]:
        directory = self.directory / "archives"
        run("apt-get", *self._options, "-q", "download", *packages, cwd=directory)
        return sorted(directory.glob("*.deb"))

    def _depends(self, package: str, wanted: str) -> list[str]:
        text = run("apt-cache", *self._options, "depends", package)
        return re.findall(rf"^\s*\|?Depends: ({wanted})$", text, re.MULTILINE)


def open_apt(directory: Path, suite: str) -> Apt:
    """apt-get for that suite of this machine's mirror; LabError where there is no Debian."""
    for tool in TOOLS:
        if not shutil.which(tool):
            raise LabError(not_debian(f"there is no {tool} here"))
    try:
        return Apt(directory, debian_source(), suite)
    except MirrorError as error:
        raise LabError(not_debian(str(error))) from error


def not_debian(reason: str) -> str:
    return (
        f"cannot fetch a lab kernel: {reason}.\n"
        "The lab uses Debian's stock kernels. Run it on Debian 12 or newer with a reachable "
        "Debian mirror in its apt sources, for example in a Debian container or VM."
    )


def _unknown_key(suite: str) -> str:
    return (
        f"apt does not know the key that {suite} is signed with; "
        "on Debian: apt-get install debian-archive-keyring"
    )


def run(*command: str, cwd: Path | None = None) -> str:
    """What a program printed; LabError with its complaint when it fails."""
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
    if done.returncode:
        detail = done.stderr.strip() or done.stdout.strip()
        raise LabError(f"{command[0]} failed with status {done.returncode}: {detail}")
    return done.stdout


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
