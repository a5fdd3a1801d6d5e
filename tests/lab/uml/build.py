# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's User Mode Linux, built once from Debian's source of the kernel.

`python -m tests.lab.uml.build` builds it, in five minutes on two idle processors, below
~/.cache/flowguard (XDG_CACHE_HOME), where a fresh checkout finds it again.
"""

from __future__ import annotations

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

CONFIG = Path(__file__).with_name("kernel.config")
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


def cached_uml() -> LabKernel | None:
    """The kernel, if it has been built already."""
    root = _root()
    release = root / "release"
    return _built(root, release.read_text().strip()) if release.exists() else None


def ensure_uml() -> LabKernel:
    """The kernel, built when it is not here yet; raises LabError."""
    if kernel := cached_uml():
        return kernel  # Whatever else is being built just now.
    with only_one(_root().parent / "uml.lock"):
        if (kernel := cached_uml()) is None:
            _build(_root())
            kernel = cached_uml()
    assert kernel
    return kernel


def _root() -> Path:
    """Where it is kept; whatever decides what comes out of a build is in the name."""
    digest = hashlib.sha256(CONFIG.read_bytes() + RECIPE.read_bytes()).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "flowguard" / f"uml-{DEFAULT_KERNEL}-{digest[:12]}"


def _built(root: Path, release: str) -> LabKernel:
    return LabKernel(
        version=DEFAULT_KERNEL,
        release=release,
        image=root / "linux",
        modules=root / "lib" / "modules" / release,
        headers=root / "headers",
        cache=root,
        architecture="um",
    )


def _build(root: Path) -> None:
    if not is_possible():
        raise LabError("there is no User Mode Linux for this processor: choose a --kernel")
    require_tools(TOOLS)
    began = time.monotonic()
    for killed in root.parent.glob("building-*"):
        shutil.rmtree(killed)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="building-") as name:
        folder = Path(name)
        source, result = folder / "source", folder / "result"
        _unpack(_download(folder / "apt"), source)
        result.mkdir()
        progress("User Mode Linux: building it, once; 5 minutes on two processors to itself")
        _make(source, result)
        # In one step, so that nobody ever boots half a kernel.
        result.rename(root)
    progress(f"User Mode Linux: in {root} after {time.monotonic() - began:.0f} s")


def _download(folder: Path) -> Path:
    package = f"linux-source-{DEFAULT_KERNEL}"
    apt = open_apt(folder, SUITES[DEFAULT_KERNEL])
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


def _make(source: Path, result: Path) -> None:
    """Run the recipe, with a line about it now and then."""
    log = result.parent / "log"
    # Whoever works on this machine meanwhile comes first.
    command = ["nice", "-n", "10", "sh", str(RECIPE), *map(str, (source, CONFIG, result))]
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
    try:
        print(ensure_uml().image)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
