# SPDX-License-Identifier: GPL-2.0-or-later
"""What the packages are made of. The feed's Makefile has to say the same; tests compare them.

A further package is one more `Package`, listed in `OPENWRT` or `DEBIAN`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "packages" / "scripts"
FEED = ROOT / "openwrt-package"

# Placeholders: whoever publishes flowguard puts a name and an address here, and what
# `./package` then finds different into the feed's Makefile.
MAINTAINER = "The flowguard developers <flowguard@example.org>"
URL = "https://flowguard.example.org"

LICENSE = "GPL-2.0-or-later"
RELEASE = 1
"""Counts packages of one version: one more when only the packaging changed, 1 for a version."""

CODE = "/usr/lib/flowguard"
CODE_SUFFIXES = frozenset({".py", ".toml", ".typed"})


@dataclass(frozen=True, slots=True)
class File:
    """`source` in this tree is installed as `target`; users may change a `conffile`."""

    source: Path
    target: str
    mode: int = 0o644
    conffile: bool = False


@dataclass(frozen=True, slots=True)
class Package:
    """`scripts` are files that have the names of the moments when they are run."""

    name: str
    summary: str
    description: str
    section: str
    depends: tuple[str, ...]
    files: tuple[File, ...]
    scripts: tuple[Path, ...] = ()


def below(folder: Path, target: str, suffixes: frozenset[str]) -> tuple[File, ...]:
    """Every file below a folder that ends so, in an order that is always the same."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in suffixes)
    return tuple(File(path, f"{target}/{path.relative_to(folder)}") for path in found)


SUMMARY = "Guard of hardware flow offloading"
DESCRIPTION = (
    "Puts forwarded connections on the hardware's packet engine, watches for driver faults, "
    "steps down to software when there are any, and carefully tries again."
)

CONFIGURATION = (
    File(ROOT / "config" / "flowguard", "/etc/config/flowguard", 0o600, conffile=True),
    File(ROOT / "config" / "flowguard.user", "/etc/flowguard.user", 0o600, conffile=True),
)
# Sources, because one package serves every Python; they are compiled when it is installed.
PROGRAM = (
    File(SCRIPTS / "flowguard", "/usr/bin/flowguard", 0o755),
    *below(ROOT / "daemon", CODE, CODE_SUFFIXES),
)

FEED_FILES = FEED / "flowguard" / "files"
SERVICE_OF_OPENWRT = (
    File(ROOT / "init.d" / "flowguard", "/etc/init.d/flowguard", 0o755),
    File(FEED_FILES / "uci-defaults", "/etc/uci-defaults/90-flowguard", 0o755),
    File(FEED_FILES / "keep.d", "/lib/upgrade/keep.d/flowguard"),
    File(FEED_FILES / "capabilities.json", "/usr/share/flowguard/capabilities.json"),
    File(FEED_FILES / "rpcd-acl.json", "/usr/share/rpcd/acl.d/flowguard.json"),
    # Where the two exporters for Prometheus look for collectors; of no use without them.
    File(
        FEED_FILES / "metrics" / "flowguard.lua",
        "/usr/lib/lua/prometheus-collectors/flowguard.lua",
    ),
    File(
        FEED_FILES / "metrics" / "flowguard.uc",
        "/usr/share/ucode/node-exporter/lib/flowguard.uc",
    ),
)
"""What the feed's package installs too, besides the configuration and its compiled program."""

LUCI_APP = FEED / "luci-app-flowguard"

OPENWRT = (
    Package(
        name="flowguard",
        summary=SUMMARY,
        description=DESCRIPTION,
        section="net",
        # python3-asyncio does not name python3-logging, which it needs. python3-pyroute2 brings
        # in the whole of python3; only its message classes are loaded at run time.
        depends=(
            "kmod-nf-conntrack-netlink",
            "kmod-nft-offload",
            "python3-asyncio",
            "python3-light",
            "python3-logging",
            "python3-psutil",
            "python3-pyroute2",
        ),
        files=(
            *CONFIGURATION,
            *SERVICE_OF_OPENWRT,
            *PROGRAM,
            # Before the service is started, on an image too: default_postinst runs these.
            File(SCRIPTS / "openwrt" / "compile", "/etc/uci-defaults/89-flowguard", 0o755),
        ),
        scripts=tuple(SCRIPTS / "openwrt" / name for name in ("preinst", "prerm", "postrm")),
    ),
    Package(
        name=LUCI_APP.name,
        summary="LuCI support for flowguard",
        description=(
            "Shows whether connections are offloaded and why not, and changes the settings."
        ),
        section="luci",
        depends=("flowguard", "luci-base"),
        files=(
            *below(LUCI_APP / "htdocs", "/www", frozenset({".js"})),
            *below(LUCI_APP / "root", "", frozenset({".json"})),
        ),
        scripts=(SCRIPTS / "luci" / "postinst",),
    ),
)

DOCUMENTS = "/usr/share/doc/flowguard"
DEBIAN = (
    Package(
        name="flowguard",
        summary=SUMMARY.lower(),
        description=DESCRIPTION,
        section="net",
        depends=(
            "python3 (>= 3.11)",
            "python3-psutil",
            "python3-pyroute2 (>= 0.7.2)",
            "python3-systemd",
        ),
        files=(
            *CONFIGURATION,
            *PROGRAM,
            File(
                ROOT / "init.d" / "flowguard.service",
                "/usr/lib/systemd/system/flowguard.service",
            ),
            File(ROOT / "packages" / "copyright", f"{DOCUMENTS}/copyright"),
            File(ROOT / "CHANGELOG.md", f"{DOCUMENTS}/changelog.gz"),
            File(ROOT / "README.md", f"{DOCUMENTS}/README.md"),
            File(ROOT / "docs" / "flowguard.8", "/usr/share/man/man8/flowguard.8.gz"),
            File(
                ROOT / "packages" / "completion",
                "/usr/share/bash-completion/completions/flowguard",
            ),
        ),
        scripts=tuple(SCRIPTS / "debian" / name for name in ("postinst", "prerm", "postrm")),
    ),
)
