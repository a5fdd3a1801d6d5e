# SPDX-License-Identifier: GPL-2.0-or-later
"""Tools of kernel packages that are of a newer Debian than this machine: run with its own libc."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from tests.lab.apt import open_apt, progress, run


def make_runnable(root: Path, suite: str) -> None:
    """Let the tools below `root` run here, which came from that suite; raises LabError.

    Debian 12 cannot run what Debian 13 has compiled: each such tool becomes a script that
    starts it with the libc of its own release, which is fetched into `root` as well.
    """
    tools = [path for path in sorted(root.glob("usr/lib/linux-kbuild-*/**/*")) if _fails(path)]
    if not tools:
        return
    release = suite.removesuffix("-backports")
    progress(f"the kernel's tools need the libc of {release}: downloading it")
    apt = open_apt(root / "apt-libc", release)
    apt.update()
    (archive,) = apt.download(["libc6"])
    run("dpkg", "-x", str(archive), str(root))
    (libc,) = root.glob("usr/lib/*/libc.so.6")
    (loader,) = libc.parent.glob("ld-linux*.so.*")
    for tool in tools:
        original = tool.rename(tool.with_name(f"{tool.name}.bin"))
        start = [loader, "--library-path", libc.parent, original]
        tool.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, start))} "$@"\n')
        tool.chmod(0o755)


def _fails(path: Path) -> bool:
    """Whether it is a program that lacks a newer libc than this machine's."""
    if not path.is_file() or path.is_symlink() or not path.stat().st_mode & 1:
        return False
    with path.open("rb") as file:
        is_program = file.read(4) == b"\x7fELF"
    if not is_program:
        return False
    told = subprocess.run(["ldd", str(path)], capture_output=True, text=True)
    return "version `GLIBC" in told.stdout + told.stderr
