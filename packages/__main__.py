# SPDX-License-Identifier: GPL-2.0-or-later
"""`./package`: builds what is asked for into build/."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from packages import apk, deb, ipk, release, tarball
from packages.description import DEBIAN, OPENWRT, RELEASE, ROOT

KINDS = ("ipk", "apk", "deb", "tarball")
BUILD = ROOT / "build"
Built = Iterator[tuple[str, bytes]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="./package", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=(*KINDS, "all"), default="all")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=BUILD)
    options = parser.parse_args()
    try:
        release.check()
        for kind in KINDS if options.kind == "all" else (options.kind,):
            for name, content in BUILDERS[kind]():
                write(options.output / name, content)
    except (release.Mismatch, release.Unknown, tarball.Unclean, OSError) as error:
        print(f"./package: {error}", file=sys.stderr)
        return 1
    return 0


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{path}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


def ipks() -> Built:
    version, time = release.packaged_version(), release.time()
    for package in OPENWRT:
        yield f"{package.name}_{version}_all.ipk", ipk.build(package, version, time)


def apks() -> Built:
    version, time = release.packaged_version(), release.time()
    for package in OPENWRT:
        yield f"{package.name}-{version}.apk", apk.build(package, version, time)


def debs() -> Built:
    version, time = f"{release.version()}-{RELEASE}", release.time()
    for package in DEBIAN:
        yield f"{package.name}_{version}_all.deb", deb.build(package, version, time)


def tarballs() -> Built:
    content = tarball.build(release.version())
    yield f"flowguard-{release.version()}.tar.gz", content
    if (digest := hashlib.sha256(content).hexdigest()) != release.packaged_hash():
        where = release.MAKEFILE.relative_to(ROOT)
        print(f"To release this, put into {where}: PKG_HASH:={digest}", file=sys.stderr)


BUILDERS: dict[str, Callable[[], Built]] = {
    "ipk": ipks,
    "apk": apks,
    "deb": debs,
    "tarball": tarballs,
}

if __name__ == "__main__":
    sys.exit(main())
