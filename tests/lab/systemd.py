# SPDX-License-Identifier: GPL-2.0-or-later
"""systemd as process 1 of a container in the lab router, which shares the router's network.

What is installed for it goes to the guest's copy of the host's files, and is lost with it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.lab.daemon import REPOSITORY
from tests.lab.kernel import LabError
from tests.lab.namespace import run
from tests.lab.wait import wait_for

PROGRAM = Path("/usr/bin/flowguard")
CONFIGURATION = Path("/etc/config/flowguard")
UNIT = REPOSITORY / "init.d" / "flowguard.service"
MODULES = Path(psutil.__file__).resolve().parents[1]
# Of the distribution's units those without which a service cannot be; no login, no udev.
NEEDED = (
    *("sysinit.target", "basic.target", "multi-user.target", "shutdown.target"),
    *("network-pre.target", "sockets.target", "umount.target", "final.target"),
    *("exit.target", "systemd-exit.service"),
    *("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"),
)
# A group of its own, or systemd would not be at the root of what it sees.
START = """
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/container
echo $$ >/sys/fs/cgroup/container/cgroup.procs
exec unshare --cgroup --mount --pid --ipc --uts --fork --kill-child sh -c '
    mount -t proc proc /proc
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec env -i container=lab PATH="$PATH" SYSTEMD_UNIT_PATH="$1" /lib/systemd/systemd
' sh "$1"
"""


class Systemd:
    """Started with flowguard installed, not running; a context manager that ends it.

    Where it is not `installed`, `dpkg` is to do that.
    """

    def __init__(self, directory: Path, *, installed: bool = True) -> None:
        self.units = directory / "units"
        self.units.mkdir()
        for name in NEEDED:
            shutil.copy(Path("/lib/systemd/system", name), self.units)
        (self.units / "default.target").symlink_to("multi-user.target")
        wanted = self.units / "sockets.target.wants"
        wanted.mkdir()
        (wanted / "systemd-journald.socket").symlink_to("../systemd-journald.socket")
        if installed:
            self._install()
        else:
            self._expect_a_package()
        self._console = (directory / "systemd").open("wb")
        self._process = subprocess.Popen(
            ["sh", "-c", START, "sh", str(self.units)],
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=self._console,
        )
        wait_for(self._is_up, "systemd to be up", 60, state=self._output)

    def _install(self) -> None:
        shutil.copy(UNIT, self.units)
        # The lab's Python lives in a home, and nobody wants to wait a minute for a watchdog.
        self._add_to_unit("ProtectHome=read-only\nWatchdogSec=10\nRestartSec=1\n")
        daemon = REPOSITORY / "daemon"
        PROGRAM.write_text(
            f'#!/bin/sh\nPYTHONPATH={daemon} exec {sys.executable} -m flowguard "$@"\n'
        )
        PROGRAM.chmod(0o755)

    def _expect_a_package(self) -> None:
        """Its unit, and the modules that it depends on where the lab has them."""
        (self.units / UNIT.name).symlink_to(f"/usr/lib/systemd/system/{UNIT.name}")
        self._add_to_unit(f"ProtectHome=read-only\nEnvironment=PYTHONPATH={MODULES}\n")

    def _add_to_unit(self, lines: str) -> None:
        folder = self.units / f"{UNIT.name}.d"
        folder.mkdir()
        (folder / "lab.conf").write_text(f"[Service]\n{lines}")

    def dpkg(self, *words: str) -> None:
        """Have it install or remove the package, whose scripts talk to this systemd."""
        environment = ("env", f"PYTHONPATH={MODULES}", "DEBIAN_FRONTEND=noninteractive")
        self._inside(*environment, "dpkg", "--force-depends", "--force-confold", *words)

    def __enter__(self) -> Systemd:
        return self

    def __exit__(self, *_: object) -> None:
        if self.runs:
            self._process.kill()  # And with it, by --kill-child, all of the container.
            self._process.wait()
        # /dev is not its own: the daemons of other scenarios would log to a journal that is gone.
        Path("/dev/log").unlink(missing_ok=True)
        self._console.close()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def configure(self, level: str, *, enabled: bool = True) -> None:
        """Write flowguard's configuration; it takes effect with a start or a reload."""
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.write_text(
            f"config flowguard 'globals'\n\toption enabled '{enabled:d}'\n"
            f"\toption boot_delay '0'\n\toption level '{level}'\n"
        )

    def shut_down(self) -> None:
        """As a machine that goes down: every unit is stopped."""
        words = ("--no-block", "--job-mode=replace-irreversibly", "start", "exit.target")
        self.control(*words)
        self._process.wait(60)

    def control(self, *words: str) -> str:
        return self._inside("systemctl", *words)

    def property(self, name: str) -> str:
        """What `systemctl show` knows of flowguard."""
        return self.control("show", "--value", "--property", name, "flowguard").strip()

    def journal(self) -> list[dict[str, Any]]:
        """flowguard's entries, and systemd's about it."""
        lines = self._inside("journalctl", "--output=json", "--no-pager", "--unit=flowguard")
        return [json.loads(line) for line in lines.splitlines()]

    def _inside(self, *words: str) -> str:
        leader = str(self._leader())
        return run("nsenter", "--target", leader, "--mount", "--pid", "--cgroup", "--", *words)

    def _leader(self) -> int:
        unshare = self._process.pid
        return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0])

    def _is_up(self) -> bool:
        try:
            return self.control("is-active", "multi-user.target").strip() == "active"
        except (IndexError, LabError):  # unshare has no child yet, or systemd no ear.
            return False

    def _output(self) -> str:
        return Path(self._console.name).read_text(errors="replace")
