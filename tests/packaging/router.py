# SPDX-License-Identifier: GPL-2.0-or-later
"""A root folder in which real packagers install, with stand-ins for what the scripts call."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

STAND_INS = Path(__file__).parent / "router"
SHELL = shutil.which("busybox")
APPLETS = ("sh", "basename", "cat", "find", "grep", "gzip", "mkdir", "rm", "touch")
CALLED = (
    *("python3", "py3compile", "py3clean"),
    *("deb-systemd-helper", "deb-systemd-invoke", "systemctl"),
)


class Router:
    """`/log` in it tells what the scripts have asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(STAND_INS, root)
        for folder in ("bin", "tmp", "dev", "var/lock", "usr/lib"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        assert SHELL
        self.add_program(SHELL)
        for applet in APPLETS:
            (root / "bin" / applet).symlink_to(SHELL)
        for program in CALLED:
            (root / "usr" / "bin" / program).symlink_to("stand-in")
        (root / "dev" / "null").touch()
        self.before = self.files()

    def stand_in(self, program: str) -> None:
        """For one that could not run in here: it needs a Python."""
        path = self.root / "usr" / "bin" / program
        path.unlink()
        path.symlink_to("stand-in")

    def add_program(self, path: str) -> None:
        """Copy one of this machine, with the libraries that it needs."""
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        for file in (path, *re.findall(r"(/\S+) \(0x", listed.stdout)):
            target = self.root / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)

    def inside(self, *command: str | Path) -> None:
        self.outside("chroot", self.root, *command)

    def outside(self, *command: str | Path) -> None:
        environment = {"PATH": os.environ["PATH"], "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    def asked(self) -> list[str]:
        """What was asked for since the last look."""
        log = self.root / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def files(self) -> set[str]:
        return {
            f"/{path.relative_to(self.root)}"
            for path in self.root.rglob("*")
            if not path.is_dir() or path.is_symlink()
        }

    def left(self, *bookkeeping: str) -> set[str]:
        """What is there now and was not at first, but for the packager's own files."""
        new = self.files() - self.before
        return {path for path in new if not path.startswith(bookkeeping)}
