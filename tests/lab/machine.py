# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab router's two machines have in common: QEMU (vm.py) and User Mode Linux (uml/)."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.lab.kernel import LabError

REPOSITORY = Path(__file__).resolve().parents[2]

Output = Callable[[bytes], object]


class MachineDiedError(LabError):
    """The guest ended without an exit status: a panic, or somebody killed its emulator."""

    def __init__(self, when: str, console: Path) -> None:
        tail = "\n".join(console.read_text(errors="replace").splitlines()[-30:])
        super().__init__(f"the lab router died {when}; the end of its console ({console}):\n{tail}")


class MachineTimeoutError(LabError):
    """The guest was ended because it ran longer than its limit."""


class MachineStoppedError(LabError):
    """The guest was ended because nobody wants it any more."""


@contextmanager
def exchange(command: str) -> Iterator[Path]:
    """A directory that guest and host both write to, with the command in it."""
    # Unix socket paths are limited to 107 bytes, so this cannot live deep in the repository.
    with tempfile.TemporaryDirectory(prefix="flowguard-lab-") as name:
        folder = Path(name)
        (folder / "command").write_text(f"( {command}\n)\n")
        yield folder


def unwind_on_sigterm() -> None:
    """So that no machine outlives us."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave no machine behind, whatever happens inside."""
    try:
        yield
        # A machine closes what it writes to just before it exits.
        process.wait(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def check_limit(deadline: float, limit: float) -> None:
    if time.monotonic() > deadline:
        raise MachineTimeoutError(f"the lab router was ended: still running after {limit:.0f} s")


def hand_on(
    pipes: Mapping[int, Output],
    process: subprocess.Popen[bytes],
    limit: float,
    stop: threading.Event,
) -> None:
    """What the machine writes to these pipes, until it is off or has had its time."""
    deadline = time.monotonic() + limit
    with selectors.DefaultSelector() as selector:
        for pipe, output in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, output)
        while selector.get_map():
            # Asked before what is left is read: nothing more comes after that.
            over = process.poll() is not None
            ready = selector.select(timeout=0.0 if over else 1.0)
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if data:
                    key.data(data)
                else:
                    selector.unregister(key.fd)
            if over and not ready:
                return
            check_limit(deadline, limit)
            if stop.is_set():
                raise MachineStoppedError("the lab router was ended: it was told to stop")


def to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
