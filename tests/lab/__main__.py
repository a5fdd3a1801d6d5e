# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the lab scenarios: fetch the kernel, build the engine, boot, run pytest inside.

Scenarios that leave a damaged kernel behind (marked `breaks_kernel`) get boots of their
own; all others share one. Those below `reboots` run here and switch the router on and off.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.engine.build import build_engine
from tests.lab.guest_python import guest_python
from tests.lab.kernel import DEFAULT_KERNEL, SUITES, LabError, ensure_kernel
from tests.lab.vm import Machine

SCENARIOS = Path(__file__).with_name("scenarios")
REBOOTS = Path(__file__).with_name("reboots")
LIMIT_SECONDS = 80 * 60
NO_TESTS_COLLECTED = 5
MARKS = ("not breaks_kernel", "breaks_kernel")
QUICK = " and not slow"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab", description="Run the lab scenarios.")
    parser.add_argument("--kernel", default=DEFAULT_KERNEL, choices=SUITES)
    parser.add_argument("--slow", action="store_true", help="the slow scenarios as well")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    options = parser.parse_args()
    try:
        kernel = ensure_kernel(options.kernel)
        engine = build_engine(kernel)
        machine = Machine(kernel, limit=LIMIT_SECONDS)
        status = 0
        for marks in MARKS:
            started = time.monotonic()
            chosen = marks if options.slow else marks + QUICK
            result = machine.run(_pytest(engine, chosen, options.pytest))
            _tell(f"{kernel.release} ({marks})", started)
            status = status or _verdict(result)
        started = time.monotonic()
        result = _run_reboots(options.kernel, options.pytest)
        _tell(f"{kernel.release} (reboots)", started)
        return status or _verdict(result)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2


def _pytest(engine: Path, marks: str, arguments: list[str]) -> list[str]:
    python = guest_python(LAB_ENGINE=str(engine))
    # The plugins off write to the repository, which the guest does not keep.
    plugins = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    pytest = ["-m", "pytest", *plugins, "-m", marks]
    return [*python, *pytest, *(arguments or ["-v"]), str(SCENARIOS)]


def _run_reboots(kernel: str, arguments: list[str]) -> int:
    environment = {**os.environ, "LAB_REBOOTS": "1", "LAB_KERNEL": kernel}
    pytest = [sys.executable, "-m", "pytest", *(arguments or ["-v"]), str(REBOOTS)]
    return subprocess.run(pytest, env=environment).returncode


def _verdict(result: int) -> int:
    return 0 if result == NO_TESTS_COLLECTED else result


def _tell(what: str, started: float) -> None:
    print(f"lab router {what}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
