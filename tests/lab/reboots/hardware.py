# SPDX-License-Identifier: GPL-2.0-or-later
"""A router that is switched on and off: its flash, and its RAM while it has power.

Every boot is a QEMU of its own over the same two files, so a reset keeps what ramoops
wrote, and a power cut does not.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from flowguard.core.records import replace
from tests.lab.engine.build import build_engine
from tests.lab.guest_python import guest_python
from tests.lab.kernel import LabError, ensure_kernel, require_tools
from tests.lab.machine import MachineDiedError
from tests.lab.reboots.exchange import Asker
from tests.lab.vm import Machine
from tests.lab.wait import wait_for

MEMORY = "1G"
FLASH_BYTES = 16 << 20
# A piece of RAM that the kernel leaves alone, for ramoops (router.py).
RESERVED = "memmap=4M$0x30000000"
BOOT_LIMIT = 180.0
ANSWER_LIMIT = 120.0
END_LIMIT = 60.0


class Board:
    """One router; the file `memory` is its RAM. `ramoops`: its kernel keeps crash dumps there."""

    def __init__(self, directory: Path, memory: Path, ramoops: bool = True) -> None:
        self.directory = directory
        self.memory = memory
        self.ramoops = ramoops
        self.boots = 0
        self.flash = directory / "flash"
        with self.flash.open("wb") as file:
            file.truncate(FLASH_BYTES)
        require_tools({"mkfs.ext4": "e2fsprogs"})
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.flash)], check=True)

    def boot(self, kernel: str) -> Boot:
        """Switch it on, and wait until the router is built; flowguard is not started."""
        self.boots += 1
        return Boot(self, kernel)

    def lose_memory(self) -> None:
        self.memory.unlink(missing_ok=True)

    def evidence(self) -> list[tuple[str, str]]:
        """What the last boot left behind, for whom a scenario fails."""
        folder = self.directory / f"boot-{self.boots}"
        names = ("console", "output", "flowguard.log")
        files = [folder / name for name in names if (folder / name).exists()]
        return [(str(file), file.read_text(errors="replace")[-8000:]) for file in files]


class Boot:
    """From power-on to the end, whatever that is. A context manager that ends it."""

    def __init__(self, board: Board, kernel: str) -> None:
        self._board = board
        self._folder = board.directory / f"boot-{board.boots}"
        self._folder.mkdir()
        self._asker = Asker(self._folder, self._wait)
        self._ended = ""
        self.tell = self._asker.tell
        self.ask = self._asker.ask
        self._machine = self._describe(kernel)
        self._thread = threading.Thread(target=self._run, args=(self._command(kernel),))
        self._thread.start()

    def __enter__(self) -> Boot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self.cut_power()

    @property
    def console(self) -> str:
        """What the kernel printed from warnings upwards."""
        return self._machine.console.read_text(errors="replace")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("status")
        return found

    def wait_for_status(self, condition: Callable[[dict[str, Any]], bool], what: str) -> Any:
        """Wait until flowguard's status is like that; returns it."""
        seen: list[dict[str, Any]] = []

        def reached() -> bool:
            seen.append(self.status())
            return condition(seen[-1])

        wait_for(reached, what, ANSWER_LIMIT, interval=0.5, state=lambda: seen[-1])
        return seen[-1]

    def wait_for_end(self) -> None:
        """Wait until it ended by itself: a panic, a reboot."""
        self._thread.join(END_LIMIT)
        if self._thread.is_alive():
            raise LabError(f"boot {self._board.boots} goes on:\n{self.console[-2000:]}")

    def hang(self) -> None:
        """Until the watchdog resets the router; what is asked next, the next boot answers.

        Without a new QEMU, which would not know that the watchdog did it.
        """
        self._monitor("set-action", reboot="reset")
        self.tell("hang")

    def reset(self) -> None:
        """No trace, and RAM keeps its content."""
        self._monitor("set-action", reboot="shutdown")
        self._monitor("system_reset")
        self.wait_for_end()

    def cut_power(self) -> None:
        os.kill(int((self._folder / "pid").read_text()), signal.SIGKILL)
        self.wait_for_end()
        self._board.lose_memory()

    def shut_down(self) -> None:
        """A planned reboot."""
        self.ask("shut_down")
        self.tell("reboot")
        self.wait_for_end()

    def _describe(self, kernel: str) -> Machine:
        board = self._board
        memory = f"memory-backend-file,id=ram,size={MEMORY},mem-path={board.memory},share=on"
        options = (
            f"-object {memory}",
            "-machine memory-backend=ram",
            f"-drive file={board.flash},format=raw,if=none,id=flash",
            "-device virtio-blk-pci,drive=flash",
            "-device i6300esb",
            f"-qmp unix:{self._folder}/monitor,server=on,wait=off",
            f"-pidfile {self._folder}/pid",
        )
        machine = Machine(
            ensure_kernel(kernel),
            memory=MEMORY,
            shared=(self._folder,),
            qemu_options=options,
            console=self._folder / "console",
        )
        return replace(machine, kernel_arguments=(RESERVED,)) if board.ramoops else machine

    def _command(self, kernel: str) -> list[str]:
        environment = {"LAB_ENGINE": str(build_engine(ensure_kernel(kernel)))}
        if self._board.ramoops:
            environment["LAB_RAMOOPS"] = "1"
        program = ["-m", "tests.lab.reboots.router", str(self._folder)]
        return [*guest_python(**environment), *program]

    def _run(self, command: list[str]) -> None:
        output = self._folder / "output"
        try:
            with output.open("wb") as file:
                status = self._machine.run(command, file.write)
            self._ended = f"with status {status}: {output.read_text(errors='replace')}"
        except MachineDiedError as error:
            self._ended = str(error)
        except LabError as error:
            self._ended = f"wrongly: {error}"

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        def done() -> bool:
            return condition() or not self._thread.is_alive()

        wait_for(done, what, BOOT_LIMIT + ANSWER_LIMIT, interval=0.05, state=lambda: self.console)
        if not condition():
            raise LabError(
                f"boot {self._board.boots} ended, {self._ended}, while waiting for {what}"
            )

    def _monitor(self, command: str, **arguments: str) -> None:
        """One command of QEMU's machine protocol (docs/interop/qmp-spec)."""
        capabilities: dict[str, object] = {"execute": "qmp_capabilities"}
        asked = {"execute": command, "arguments": arguments}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._folder / "monitor"))
            with connection.makefile("rw") as stream:
                for request in (capabilities, asked):
                    stream.readline()
                    stream.write(json.dumps(request) + "\n")
                    stream.flush()
                answer = stream.readline()
        if "error" in json.loads(answer):
            raise LabError(f"QEMU: {command}: {answer}")
