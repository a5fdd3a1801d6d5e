# SPDX-License-Identifier: GPL-2.0-or-later
"""The program inside each boot: builds the router, then does what the host asks.

`python -m tests.lab.reboots.router FOLDER`, with LAB_ENGINE naming the engine's module.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.lab.capture import Engine, hardware_flows
from tests.lab.daemon import Daemon
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.namespace import run
from tests.lab.reboots import exchange, hardware
from tests.lab.traffic import Downloads
from tests.lab.traffic.control import Batch, Traffic

RUNTIME = Path("/run/flowguard-lab")
FLASH = Path("/run/flash")
PSTORE = Path("/sys/fs/pstore")


class Reboots:
    """The actions that a scenario can ask for; each boot has one."""

    def __init__(self) -> None:
        self._router = Router()
        self._traffic: Traffic | None = None
        self._batch: Batch | None = None
        self._daemon: Daemon | None = None

    def start(self, options: str) -> dict[str, Any]:
        """Start flowguard with these options; its first status."""
        self._daemon = Daemon(RUNTIME, options, state=FLASH / "flowguard")
        self._daemon.start()
        return self._daemon.status()

    def status(self) -> dict[str, Any]:
        assert self._daemon is not None
        return {**self._daemon.status(), "hardware_flows": hardware_flows()}

    def log(self) -> str:
        assert self._daemon is not None
        return self._daemon.log.read_text(errors="replace")

    def connect(self, count: int) -> None:
        """So many new connections through the router; they go on."""
        if self._traffic is None:
            self._traffic = Traffic(self._router)
            self._traffic.__enter__()
        self._batch = self._traffic.start(Downloads(count=count))

    def wait_until_flowing(self) -> None:
        assert self._batch is not None
        self._batch.wait_until_flowing()

    def fault(self, name: str, value: int) -> None:
        """Break the engine."""
        Engine().set_fault(name, value)

    def write(self, path: str, text: str) -> None:
        Path(path).write_text(text)

    def read(self, path: str) -> str:
        return Path(path).read_text(errors="replace")

    def save_all_the_time(self) -> None:
        """Have flowguard write its state again and again, until the power is cut."""
        threading.Thread(target=self._save_all_the_time, daemon=True).start()

    def _save_all_the_time(self) -> None:
        assert self._daemon is not None
        while True:
            for level in ("none", "software"):
                self._daemon.set_level(level)

    def stop(self, release: bool = False) -> None:
        """End flowguard as a planned shutdown does."""
        assert self._daemon is not None
        self._daemon.stop(release)

    def reboot(self) -> None:
        """The last steps of a planned reboot."""
        run("umount", str(FLASH))
        os.sync()
        Path("/proc/sysrq-trigger").write_text("b")


def build() -> Reboots:
    """The router as the firmware leaves it to flowguard."""
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    run("modprobe", "-a", "virtio_blk", "ext4")
    FLASH.mkdir()
    run("mount", "-t", "ext4", hardware.FLASH_DEVICE, str(FLASH))
    if os.environ.get("LAB_RAMOOPS"):
        run("modprobe", "ramoops", *hardware.RAMOOPS)
        mounted = subprocess.run(["mountpoint", "-q", str(PSTORE)], check=False)
        if mounted.returncode:
            run("mount", "-t", "pstore", "pstore", str(PSTORE))
    made = Reboots()
    made._router.set_up()
    return made


def main() -> None:
    made = build()
    names = [name for name in vars(Reboots) if not name.startswith("_")]
    exchange.serve(Path(sys.argv[1]), {name: getattr(made, name) for name in names})


if __name__ == "__main__":
    main()
