# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab router on User Mode Linux: a kernel as a program, over the host's files.

Ten times faster than emulated processors, and its clock jumps over the time in which
nothing runs. What it has not: several processors, a life after an oops, a reset.
`python -m tests.lab.uml.machine [--kernel V] -- COMMAND` runs one command as root in the
guest, shows its output live and ends with its exit status; `--shell` gives a root shell.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.kernel import (
    CACHE,
    DEFAULT_KERNEL,
    SUITES,
    LabError,
    LabKernel,
    require_tools,
)
from tests.lab.machine import (
    REPOSITORY,
    MachineDiedError,
    Output,
    ended,
    exchange,
    hand_on,
    to_stdout,
    unwind_on_sigterm,
)
from tests.lab.uml.build import ensure_uml

GUEST = Path(__file__).with_name("guest.sh")
TOOLS = {
    **{"taskset": "util-linux", "setpriv": "util-linux", "busybox": "busybox-static"},
    **{"modprobe": "kmod", "ip": "iproute2", "nft": "nftables", "conntrack": "conntrack"},
    **{"ethtool": "ethtool", "pppd": "ppp", "pppoe-server": "pppoe", "systemctl": "systemd"},
    **{"wg": "wireguard-tools", "hostapd": "hostapd", "iw": "iw"},
    "wpa_supplicant": "wpasupplicant",
}
RECORDS = Path("/dev/tty2")
"""In the guest: what is written there, the host gets apart from the command's output."""
_FAST = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class UserModeLinux:
    """How to boot; on that `processor` alone, for elsewhere it is far slower.

    `memory` is in MiB; `limit` is in seconds of the host and counts from power-on.
    `shared` directories are writable for the guest, under the same path.
    `console` receives what the kernel prints from warnings upwards.
    """

    kernel: LabKernel
    processor: int
    memory: int = 1024
    limit: float = 1800.0
    shared: tuple[Path, ...] = ()
    console: Path = CACHE / "uml.console"

    def run(
        self,
        command: Sequence[str],
        output: Output | None = None,
        records: Output | None = None,
        stop: threading.Event | None = None,
    ) -> int:
        """Run command as root in the repository's directory; returns its exit status.

        `output` gets the command's stdout and stderr as they come (default: our stdout),
        `records` what it writes to RECORDS; `stop` ends the machine, from another thread.
        Raises MachineDiedError, MachineTimeoutError or MachineStoppedError when there is
        no exit status.
        """
        unwind_on_sigterm()
        self.console.parent.mkdir(parents=True, exist_ok=True)
        with self._exchange(shlex.join(command)) as folder:
            with self.console.open("wb", buffering=0) as console:
                outputs = (console.write, output or to_stdout, records or _drop)
                self._boot(folder, outputs, stop or threading.Event())
            if (folder / "status").exists():
                return int((folder / "status").read_text())
            started = (folder / "started").exists()
            if not started:
                raise MachineDiedError("at once (--qemu is the way without it)", self.console)
            raise MachineDiedError("before its command ended", self.console)

    def shell(self, command: Sequence[str] = ("bash", "-i")) -> int:
        """An interactive root shell, or another command, on this terminal."""
        if not sys.stdin.isatty():
            raise LabError("a shell in the lab router needs a terminal")
        size = shutil.get_terminal_size()
        resize = f"stty rows {size.lines} columns {size.columns}"
        with self._exchange(f"{resize}\n{shlex.join(command)}") as folder, _kept_terminal():
            # Who types expects the clock of the world.
            arguments = self._arguments(folder, "con=null con1=fd:0,fd:1 LAB_MODE=shell")
            return subprocess.run(
                arguments, env=_environment(), stderr=subprocess.DEVNULL
            ).returncode

    @contextmanager
    def _exchange(self, command: str) -> Iterator[Path]:
        require_tools(TOOLS)
        with exchange(f"cd {shlex.quote(str(REPOSITORY))} || exit\n{command}") as folder:
            shutil.copy(GUEST, folder)
            (folder / "guest.sh").chmod(0o755)
            (folder / "modules").write_text(str(self.kernel.modules))
            (folder / "shared").write_text("".join(f"{path}\n" for path in (folder, *self.shared)))
            yield folder

    def _boot(
        self, folder: Path, outputs: tuple[Output, Output, Output], stop: threading.Event
    ) -> None:
        """Its consoles: the kernel's, the command's, and that of records."""
        pipes = [os.pipe() for _ in outputs]
        reading, writing = ([pipe[end] for pipe in pipes] for end in (0, 1))
        consoles = " ".join(f"con{n}=null,fd:{pipe}" for n, pipe in enumerate(writing))
        try:
            process = subprocess.Popen(
                self._arguments(folder, f"con=null {consoles} time-travel"),
                stdin=subprocess.DEVNULL,
                stdout=writing[0],
                stderr=writing[0],
                pass_fds=writing,
                env=_environment(),
                start_new_session=True,
            )
        finally:
            for pipe in writing:
                os.close(pipe)
        try:
            with ended(process):
                hand_on(dict(zip(reading, outputs, strict=True)), process, self.limit, stop)
        finally:
            for pipe in reading:
                os.close(pipe)

    def _arguments(self, folder: Path, more: str) -> list[str]:
        root = f"root=/dev/root rootfstype=hostfs rootflags=/ ro init={folder}/guest.sh"
        kernel = f"mem={self.memory}M console=tty0 quiet loglevel=5 {root} LAB_EXCHANGE={folder}"
        # However we end, it does not outlive us.
        alone = ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(self.processor)]
        return [*alone, str(self.kernel.image), *kernel.split(), *more.split()]


def processors() -> list[int]:
    """Those that this process may use."""
    return sorted(os.sched_getaffinity(0))


def _environment() -> dict[str, str]:
    """The guest's memory is a file in TMPDIR."""
    fast = _FAST if _FAST.is_dir() and shutil.disk_usage(_FAST).free > 4 << 30 else None
    return {**os.environ, "TMPDIR": str(fast or tempfile.gettempdir())}


@contextmanager
def _kept_terminal() -> Iterator[None]:
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _drop(data: bytes) -> None:
    """Nobody asked for it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab.uml.machine", description="Run in the lab.")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds")
    parser.add_argument("--kernel", choices=SUITES, default=DEFAULT_KERNEL)
    parser.add_argument("--shell", action="store_true", help="a root shell instead")
    parser.add_argument("command", nargs="*")
    arguments = parser.parse_args()
    if not arguments.shell and not arguments.command:
        parser.error("give a command after --, or --shell")
    try:
        kernel = ensure_uml(arguments.kernel)
        machine = UserModeLinux(kernel, processors()[-1], limit=arguments.limit)
        if arguments.shell:
            return machine.shell(arguments.command or ("bash", "-i"))
        return machine.run(arguments.command)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
