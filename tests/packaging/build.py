# SPDX-License-Identifier: GPL-2.0-or-later
"""The package as OpenWrt's build would make it, and the Pythons that it has to run on."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "openwrt-package" / "flowguard"
STAND_INS = Path(__file__).parent / "openwrt"


@dataclass(frozen=True, slots=True)
class FeedPackage:
    """`root` is the tree that it installs; `fields` are section, title, URL, maintainer and
    licence."""

    root: Path
    depends: tuple[str, ...]
    fields: tuple[str, ...]
    description: str
    conffiles: tuple[str, ...]
    preinst: str
    prerm: str


def build(folder: Path, recipe: Path = RECIPE) -> FeedPackage:
    """Run a package's Makefile over stand-ins for OpenWrt's build."""
    done = subprocess.run(
        ["make", "-C", recipe, f"TOPDIR={STAND_INS}", f"TREE={ROOT}", f"OUT={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "warning" not in done.stdout, done.stdout
    return FeedPackage(
        folder / "root",
        tuple((folder / "depends").read_text().split()),
        tuple((folder / "fields").read_text().strip().split("|")),
        " ".join((folder / "description").read_text().split()),
        tuple((folder / "conffiles").read_text().split()),
        (folder / "preinst").read_text(),
        (folder / "prerm").read_text(),
    )


def modes(root: Path) -> dict[str, int]:
    """The permissions of every file below a folder, by its absolute path there."""
    return {
        f"/{path.relative_to(root)}": stat.S_IMODE(path.stat().st_mode)
        for path in root.rglob("*")
        if path.is_file()
    }


def compiled(folder: Path, python: str) -> Path:
    """A folder for PYTHONPATH with flowguard as the package installs it: without sources."""
    site = folder / "site-packages"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "daemon", site, ignore=ignored)
    subprocess.run([python, "-m", "compileall", "-q", "-b", site], check=True)
    for source in site.rglob("*.py"):
        source.unlink()
    return site


@cache
def pythons() -> tuple[str, ...]:
    """This Python, and whichever others of the versions that OpenWrt has are on PATH.

    FLOWGUARD_PYTHONS names further ones, as paths separated by colons.
    """
    named = os.environ.get("FLOWGUARD_PYTHONS", "")
    names = ["python3.11", "python3.13", "python3.14", *filter(None, named.split(":"))]
    found = {_version(sys.executable): sys.executable}
    for name in names:
        if (path := shutil.which(name)) and (version := _version(path)):
            found.setdefault(version, path)
    return tuple(found.values())


def _version(python: str) -> str:
    command = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
