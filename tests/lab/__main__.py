# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the lab scenarios: get the kernels, build the engine, boot, run pytest inside.

Most of them run on User Mode Linux, on each processor a router of its own. Those that need
what it has not (marked `needs_qemu`) follow on QEMU with a stock kernel, and with --qemu all
do, except for the slow ones. --kernel chooses the kernel of both. Scenarios that leave a
damaged kernel behind (marked `breaks_kernel`) get boots of their own; those below `reboots`
run here and switch the router, a QEMU, on and off.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.lab.engine.build import build_engine
from tests.lab.guest_python import guest_python
from tests.lab.kernel import CACHE, DEFAULT_KERNEL, SUITES, LabError, ensure_kernel
from tests.lab.machine import unwind_on_sigterm
from tests.lab.uml.build import ensure_uml, is_possible
from tests.lab.uml.machine import UserModeLinux, processors
from tests.lab.uml.pool import Pool
from tests.lab.vm import Machine

SCENARIOS = Path(__file__).with_name("scenarios")
REBOOTS = Path(__file__).with_name("reboots")
LIMIT_SECONDS = 80 * 60
UML_LIMIT_SECONDS = 40 * 60
# Each takes 1 GiB, and more of them gain little.
MOST_ROUTERS = 4
NO_TESTS_COLLECTED = 5
# What the guest keeps nothing of: both write to the repository.
PLUGINS = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")


class Lab:
    """The parts of a run, one after the other; the worst of their results counts."""

    def __init__(self, arguments: list[str], slow: bool) -> None:
        self._arguments = [*PLUGINS, *(arguments or ["-v"])]
        self._slow = slow
        self._times: list[str] = []
        self.status = 0

    def on_uml(self, version: str) -> None:
        """What does not need QEMU, shared by as many routers as there are processors."""
        marks = "not needs_qemu"
        if not self._chosen(marks):
            return
        kernel = ensure_uml(version)
        environment = {"LAB_ENGINE": str(build_engine(kernel))}
        cores = processors()[:MOST_ROUTERS]
        with self._part(f"{len(cores)} x UML {kernel.release}"), TemporaryDirectory() as claims:
            python = guest_python(**environment, LAB_CLAIMS=claims)
            command = [*python, "-m", *self._pytest(marks), "-p", "tests.lab.uml.worker"]
            machines = [
                UserModeLinux(
                    kernel,
                    core,
                    limit=UML_LIMIT_SECONDS,
                    shared=(Path(claims),),
                    console=CACHE / f"uml{number}.console",
                )
                for number, core in enumerate(cores)
            ]
            result = pytest.main(self._pytest(marks)[1:], [Pool(machines, command)])
        self._judge(result)
        # pytest keeps to itself that somebody wants to end all of this.
        if result in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR):
            sys.exit(result)

    def on_qemu(self, version: str, *parts: str) -> None:
        """The scenarios with these marks, in one boot for each."""
        if not self._slow:
            parts = tuple(f"{marks} and not slow" for marks in parts)
        for marks in filter(self._chosen, parts):
            kernel = ensure_kernel(version)
            python = guest_python(LAB_ENGINE=str(build_engine(kernel)))
            with self._part(f"QEMU {kernel.release} ({marks})"):
                machine = Machine(kernel, limit=LIMIT_SECONDS)
                self._judge(machine.run([*python, "-m", *self._pytest(marks)]))

    def reboots(self, version: str) -> None:
        environment = {**os.environ, "LAB_REBOOTS": "1", "LAB_KERNEL": version}
        command = [sys.executable, "-m", "pytest", *self._arguments, str(REBOOTS)]
        with self._part(f"QEMU {version} (reboots)"):
            self._judge(subprocess.run(command, env=environment).returncode)

    def tell(self) -> None:
        for line in self._times:
            print(f"lab router {line}", flush=True)

    def _pytest(self, marks: str) -> list[str]:
        return ["pytest", "-m", marks, *self._arguments, str(SCENARIOS)]

    def _chosen(self, marks: str) -> bool:
        """Whether there is any such scenario: boots are dear."""
        command = [sys.executable, "-m", *self._pytest(marks), "--collect-only", "-q"]
        found = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return found.returncode != NO_TESTS_COLLECTED

    @contextmanager
    def _part(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._times.append(f"{what}: {time.monotonic() - started:.0f} s")

    def _judge(self, result: int) -> None:
        self.status = self.status or (0 if result == NO_TESTS_COLLECTED else int(result))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab", description="Run the lab scenarios.")
    parser.add_argument("--kernel", choices=SUITES, default=DEFAULT_KERNEL)
    parser.add_argument("--qemu", action="store_true", help="all on an emulated stock kernel")
    parser.add_argument("--slow", action="store_true", help="the slow scenarios on QEMU too")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    options = parser.parse_args()
    os.environ["LAB_ROUTER"] = "1"  # So that the scenarios can be collected here.
    unwind_on_sigterm()
    lab = Lab(options.pytest, options.slow)
    version = options.kernel
    try:
        if options.qemu or not is_possible():
            lab.on_qemu(version, "not breaks_kernel", "breaks_kernel")
        else:
            lab.on_uml(version)
            lab.on_qemu(version, "needs_qemu and not breaks_kernel", "breaks_kernel")
        lab.reboots(version)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        lab.tell()
    return lab.status


if __name__ == "__main__":
    sys.exit(main())
