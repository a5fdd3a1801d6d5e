# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab router on QEMU: boots a stock kernel over the host's files, copy-on-write.

`python -m tests.lab.vm [--kernel V] -- COMMAND` runs one command as root in the guest,
shows its output live and ends with its exit status; `--shell` gives a root shell.
Built on virtme-ng. Emulates the processor unless LAB_KVM=1 is in the environment.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.lab.apt import progress
from tests.lab.kernel import (
    CACHE,
    DEFAULT_KERNEL,
    LabError,
    LabKernel,
    ensure_kernel,
    require_tools,
)
from tests.lab.machine import (
    REPOSITORY,
    MachineDiedError,
    Output,
    check_limit,
    ended,
    exchange,
    to_stdout,
    unwind_on_sigterm,
)

# What the guest reads most, mounted once more with a cache that asks the host only once.
CACHED = (REPOSITORY, Path(sysconfig.get_path("stdlib")).resolve())
GUEST = Path(__file__).with_name("guest.sh")
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "modprobe": "kmod",
    "zstd": "zstd",
    "file": "file",
    "ip": "iproute2",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "pppd": "ppp",
    "pppoe-server": "pppoe",
    "systemctl": "systemd",
    "wg": "wireguard-tools",
}

# QEMU 7.2 sometimes corrupts EFLAGS when it emulates cmpxchg16b, and the guest double-faults;
# five-level page tables only make its page walks longer.
_EMULATION = ["--qemu-opts=-cpu max,-cx16,-la57"] if platform.machine() == "x86_64" else []

_BOOT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Machine:
    """How to boot; `shared` directories are writable for the guest, under the same path.

    `limit` is in seconds and counts from power-on. `console` receives what the kernel
    prints from warnings upwards; by default it goes to a file in the cache.
    """

    kernel: LabKernel
    memory: str = "1G"
    cpus: int = 2
    limit: float = 1800.0
    shared: tuple[Path, ...] = ()
    kernel_arguments: tuple[str, ...] = ()
    qemu_options: tuple[str, ...] = ()
    console: Path = CACHE / "console.log"

    def run(self, command: Sequence[str], output: Output | None = None) -> int:
        """Run command as root in the repository's directory; returns its exit status.

        `output` gets the command's stdout and stderr as they come (default: our stdout).
        Raises MachineDiedError or MachineTimeoutError when there is no exit status.
        """
        unwind_on_sigterm()
        for _ in range(_BOOT_ATTEMPTS):
            with _exchange(shlex.join(command)) as folder:
                self._boot_and_wait(folder, output or to_stdout)
                if (folder / "status").exists():
                    return int((folder / "status").read_text())
                if (folder / "started").exists():
                    raise MachineDiedError("before its command ended", self.console)
            # Emulated processors have their moments; nothing of ours ran yet.
            progress("the lab router did not come up, once more")
        raise MachineDiedError("while booting, every time", self.console)

    def _boot_and_wait(self, folder: Path, output: Output) -> None:
        with _Listener(folder) as port:
            guest = shlex.join(["sh", str(GUEST), str(folder)])
            arguments = [*self._boot(folder), "--verbose", "--exec", guest]
            arguments += [f"--qemu-opts={option}" for option in port.qemu_options]
            progress(f"booting lab router {self.kernel.release}, about {_boot_time()} s")
            self.console.parent.mkdir(parents=True, exist_ok=True)
            with self.console.open("wb") as console, _started(arguments) as process:
                assert process.stdout
                copier = threading.Thread(target=_copy, args=(process.stdout, console))
                copier.start()
                with ended(process):
                    port.copy(output, process, self.limit)
                copier.join()

    def shell(self, command: Sequence[str] = ("bash", "-i")) -> int:
        """An interactive root shell, or another command, on this terminal."""
        if not sys.stdin.isatty():
            raise LabError("a shell in the lab router needs a terminal")
        size = shutil.get_terminal_size()
        # A serial console has no size of its own, and long lines would overwrite themselves.
        lines = [f"stty rows {size.lines} columns {size.columns}"]
        lines += [shlex.join(command)]
        with _exchange("\n".join(lines)) as folder:
            start = folder / "shell"
            start.write_text(f"#!/bin/sh\nexec sh {GUEST} {folder} shell\n")
            start.chmod(0o755)
            progress(f"booting lab router {self.kernel.release}, about {_boot_time()} s")
            boot = [*self._boot(folder), "--shell", str(start), "--disable-monitor"]
            return subprocess.run(boot, env=_environment()).returncode

    def _boot(self, folder: Path) -> list[str]:
        require_tools(TOOLS)
        arguments = [_vng(), "--run", str(self.kernel.image), "--user", "root"]
        arguments += ["--memory", self.memory, "--cpus", str(self.cpus), "--cwd", str(REPOSITORY)]
        # virtiofsd is not everywhere, and waiting for it in vain costs seconds.
        arguments += ["--force-9p"]
        arguments += [] if _kvm() else ["--disable-kvm", *_EMULATION]
        for directory in (folder, *self.shared):
            arguments.append(f"--rwdir={directory}")
        for number, directory in enumerate(CACHED):
            options = f"id=cached{number},path={directory},security_model=none,readonly=on"
            arguments.append(f"--qemu-opts=-fsdev local,{options},multidevs=remap")
            device = f"virtio-9p-pci,fsdev=cached{number},mount_tag=cached{number}"
            arguments.append(f"--qemu-opts=-device {device}")
        for argument in ("quiet", "loglevel=5", *self.kernel_arguments):
            arguments.append(f"--append={argument}")
        arguments += [f"--qemu-opts={option}" for option in self.qemu_options]
        return arguments


class _Listener:
    """The host's end of the virtio port that the guest's output comes through."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / "output"))
        self._socket.listen(1)
        self.qemu_options = (
            f"-chardev socket,id=lab,path={folder / 'output'}",
            "-device virtio-serial-pci,id=labserial",
            "-device virtserialport,bus=labserial.0,name=flowguard.lab,chardev=lab",
        )

    def __enter__(self) -> _Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def copy(self, output: Output, process: subprocess.Popen[bytes], limit: float) -> None:
        """Hand on what the guest prints until it is off."""
        deadline = time.monotonic() + limit
        self._socket.settimeout(1.0)
        while process.poll() is None:
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                check_limit(deadline, limit)
                continue
            with connection:
                self._copy_connection(connection, output, deadline, limit)
            return

    def _copy_connection(
        self, connection: socket.socket, output: Output, deadline: float, limit: float
    ) -> None:
        connection.settimeout(1.0)
        while True:
            try:
                data = connection.recv(65536)
            except TimeoutError:
                check_limit(deadline, limit)
                continue
            if not data:
                return
            output(data)
            check_limit(deadline, limit)


@contextmanager
def _exchange(command: str) -> Iterator[Path]:
    with exchange(command) as folder:
        tags = (f"cached{n} {directory}\n" for n, directory in enumerate(CACHED))
        (folder / "cached").write_text("".join(tags))
        yield folder


def _started(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        # A pipe: QEMU truncates regular files given as stdout.
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        start_new_session=True,
    )


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while data := os.read(source.fileno(), 65536):
        target.write(data)


def _vng() -> str:
    beside = Path(sys.executable).with_name("vng")
    found = str(beside) if beside.exists() else shutil.which("vng")
    if not found:
        raise LabError(f"virtme-ng is missing: {sys.executable} -m pip install virtme-ng")
    return found


def _environment() -> dict[str, str]:
    """virtme-ng starts its own programs through PATH; keep modprobe and the like in it."""
    path = [str(Path(_vng()).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
    return {**os.environ, "PATH": ":".join(path)}


def _kvm() -> bool:
    """Only on request: a /dev/kvm that is there may still fail, and emulation never does."""
    return os.environ.get("LAB_KVM") == "1"


def _boot_time() -> int:
    return 5 if _kvm() else 15


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab.vm", description="Run in the lab router.")
    parser.add_argument("--kernel", default=DEFAULT_KERNEL)
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds")
    parser.add_argument("--rwdir", type=Path, action="append", default=[])
    parser.add_argument("--shell", action="store_true", help="a root shell instead")
    parser.add_argument("command", nargs="*")
    arguments = parser.parse_args()
    if not arguments.shell and not arguments.command:
        parser.error("give a command after --, or --shell")
    try:
        machine = Machine(
            ensure_kernel(arguments.kernel),
            limit=arguments.limit,
            shared=tuple(directory.resolve() for directory in arguments.rwdir),
        )
        if arguments.shell:
            return machine.shell(arguments.command or ("bash", "-i"))
        return machine.run(arguments.command)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
