# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's User Mode Linux, each built once from Debian's source of the kernel.

`python -m tests.lab.uml.build [--kernel V]` builds it, in five minutes on two idle processors,
below ~/.cache/flowguard (XDG_CACHE_HOME), where a fresh checkout finds it again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from tests.lab.apt import open_apt, progress, run
from tests.lab.kernel import DEFAULT_KERNEL, SUITES, LabError, LabKernel, only_one, require_tools
from tests.lab.uml.configuration import configuration

RECIPE = Path(__file__).with_name("build.sh")
TOOLS = {
    **{tool: tool for tool in ("make", "gcc", "flex", "bison", "m4", "bc")},
    **{"strip": "binutils", "depmod": "kmod", "xz": "xz-utils", "nice": "coreutils"},
}
# Roughly, for those who wait.
OBJECTS = 1130
TELL_SECONDS = 20.0
_COMPILED = re.compile(rb"^  (?:CC|AS|HOSTCC)\b")


def is_possible() -> bool:
    """User Mode Linux exists for one kind of processor only."""
    return platform.machine() == "x86_64"


def cached_uml(version: str = DEFAULT_KERNEL) -> LabKernel | None:
    """The kernel, if it has been built already."""
    root = _root(version)
    release = root / "release"
    return _built(version, root, release.read_text().strip()) if release.exists() else None


def ensure_uml(version: str = DEFAULT_KERNEL) -> LabKernel:
    """The kernel, built when it is not here yet; raises LabError."""
    if kernel := cached_uml(version):
        return kernel  # Whatever else is being built just now.
    root = _root(version)
    with only_one(root.parent / "uml.lock"):
        if (kernel := cached_uml(version)) is None:
            _build(version, root)
            kernel = cached_uml(version)
    assert kernel
    return kernel


def _root(version: str) -> Path:
    """Where it is kept; whatever decides what comes out of a build is in the name."""
    inputs = configuration(version).encode() + RECIPE.read_bytes()
    digest = hashlib.sha256(inputs).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "flowguard" / f"uml-{version}-{digest[:12]}"


def _built(version: str, root: Path, release: str) -> LabKernel:
    return LabKernel(
        version=version,
        release=release,
        image=root / "linux",
        modules=root / "lib" / "modules" / release,
        headers=root / "headers",
        cache=root,
        architecture="um",
    )


def _build(version: str, root: Path) -> None:
    if not is_possible():
        raise LabError("there is no User Mode Linux for this processor: QEMU does without (--qemu)")
    require_tools(TOOLS)
    began = time.monotonic()
    for killed in root.parent.glob("building-*"):
        shutil.rmtree(killed)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="building-") as name:
        folder = Path(name)
        source, result = folder / "source", folder / "result"
        config = folder / "kernel.config"
        config.write_text(configuration(version))
        _unpack(_download(version, folder / "apt"), source)
        result.mkdir()
        progress(f"User Mode Linux {version}: building it, once; 5 minutes on two idle processors")
        _make(source, config, result)
        # In one step, so that nobody ever boots half a kernel.
        result.rename(root)
    progress(f"User Mode Linux {version}: in {root} after {time.monotonic() - began:.0f} s")


def _download(version: str, folder: Path) -> Path:
    package = f"linux-source-{version}"
    apt = open_apt(folder, SUITES[version])
    progress(f"User Mode Linux: asking {apt.suite} for its package list")
    apt.update()
    progress(f"User Mode Linux: downloading {package}, about 150 MB")
    (archive,) = apt.download([package])
    return archive


def _unpack(archive: Path, source: Path) -> None:
    progress("User Mode Linux: unpacking")
    package = archive.with_suffix("")
    run("dpkg", "-x", str(archive), str(package))
    (tarball,) = package.glob("usr/src/linux-source-*.tar.xz")
    source.mkdir()
    run("tar", "-xf", str(tarball), "--strip-components=1", "-C", str(source))


def _make(source: Path, config: Path, result: Path) -> None:
    """Run the recipe, with a line about it now and then."""
    log = result.parent / "log"
    # Whoever works on this machine meanwhile comes first.
    command = ["nice", "-n", "10", "sh", str(RECIPE), *map(str, (source, config, result))]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout
        with process:
            _follow(process.stdout, file)
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
        raise LabError(f"User Mode Linux cannot be built:\n{tail}")


def _follow(lines: IO[bytes], log: IO[bytes]) -> None:
    told, compiled = time.monotonic(), 0
    for line in lines:
        log.write(line)
        compiled += bool(_COMPILED.match(line))
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            progress(f"User Mode Linux: {compiled} of about {OBJECTS} files compiled")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab.uml.build", description="Build a lab kernel.")
    parser.add_argument("--kernel", choices=SUITES, default=DEFAULT_KERNEL)
    try:
        print(ensure_uml(parser.parse_args().kernel).image)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
