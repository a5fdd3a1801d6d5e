# SPDX-License-Identifier: GPL-2.0-or-later
"""The program inside each boot: builds the router, then does what the host asks.

`python -m tests.lab.reboots.router FOLDER`, with LAB_ENGINE naming the engine's module.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from tests.lab.capture import Engine, hardware_flows
from tests.lab.daemon import Daemon
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.namespace import run
from tests.lab.reboots import exchange
from tests.lab.traffic import Downloads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

RUNTIME = Path("/run/flowguard-lab")
FLASH = Path("/run/flash")
FLASH_DEVICE = "/dev/vda"
PSTORE = Path("/sys/fs/pstore")
WATCHDOG_SECONDS = 3
SETTLED_LIMIT = 120.0
# The piece of RAM that the kernel was told to leave alone (hardware.py).
RAMOOPS = ("mem_address=0x30000000", "mem_size=0x400000", "record_size=0x40000", "ecc=1")


class Actions:
    """The actions that a scenario can ask for; each boot has one."""

    def __init__(self, folder: Path, router: Router) -> None:
        self._folder = folder
        self._router = router
        self._traffic: Traffic | None = None
        self._batch: Batch | None = None
        self._daemon: Daemon | None = None

    def start(self, options: str, ahead: int = 0) -> dict[str, Any]:
        """Start flowguard with these options; its status when that has settled."""
        self._daemon = Daemon(RUNTIME, options, state=FLASH / "flowguard", ahead=ahead)
        self._daemon.log = self._folder / "flowguard.log"
        self._daemon.start()
        wait_for(self._is_settled, "what is allowed to be reached", SETTLED_LIMIT)
        return self._daemon.status()

    def _is_settled(self) -> bool:
        """Whether the kernel holds what may be; a fresh start has not asked for it yet."""
        assert self._daemon is not None
        devices = self._daemon.status()["devices"]
        return bool(devices) and all(d["level"] == d["allowed"] for d in devices)

    def status(self) -> dict[str, Any]:
        assert self._daemon is not None
        return {**self._daemon.status(), "hardware_flows": hardware_flows()}

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

    def retry(self) -> None:
        """`flowguard retry`."""
        assert self._daemon is not None
        self._daemon.cli("retry")

    def hang(self) -> None:
        """Until the watchdog bites."""
        with Path("/dev/watchdog").open("wb"):
            threading.Event().wait()

    def save_all_the_time(self, first: int) -> None:
        """Have flowguard write its state without end; returns when it did `first` times."""
        saved = threading.Semaphore(0)
        threading.Thread(target=self._save, args=(saved,), daemon=True).start()
        for _ in range(first):
            saved.acquire()

    def _save(self, saved: threading.Semaphore) -> None:
        assert self._daemon is not None
        while True:
            for level in ("none", "software"):
                self._daemon.set_level(level)
                saved.release()

    def shut_down(self) -> None:
        """End flowguard as its service script does when the router goes down."""
        assert self._daemon is not None
        self._daemon.cli("stop", "--reboot")

    def reboot(self) -> None:
        """The last steps of a planned reboot."""
        run("umount", str(FLASH))
        os.sync()
        Path("/proc/sysrq-trigger").write_text("b")


def build() -> Router:
    """The router as the firmware leaves it to flowguard."""
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    run("modprobe", "-a", "virtio_blk", "ext4")
    run("modprobe", "i6300esb", f"heartbeat={WATCHDOG_SECONDS}")
    FLASH.mkdir()
    run("mount", "-t", "ext4", FLASH_DEVICE, str(FLASH))
    if os.environ.get("LAB_RAMOOPS"):
        run("modprobe", "ramoops", *RAMOOPS)
        if not PSTORE.is_mount():
            run("mount", "-t", "pstore", "pstore", str(PSTORE))
    router = Router()
    router.set_up()
    return router


def main() -> None:
    folder = Path(sys.argv[1])
    actions = Actions(folder, build())
    names = [name for name in vars(Actions) if not name.startswith("_")]
    exchange.serve(folder, {name: getattr(actions, name) for name in names})


if __name__ == "__main__":
    main()
