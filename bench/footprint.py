# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon costs when nothing happens: start, memory, wake-ups, processor time.

Started as root on this machine, on a device that does not exist, so it changes nothing.
Side by side with a Python that only imports asyncio and json.

Run: python -m bench.footprint [--starts 10] [--idle 30]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from flowguard.host.control import Unreachable, request

ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
BARE = "import asyncio, json, sys; print('up', flush=True); sys.stdin.read()"
CONFIGURATION = """
config flowguard 'globals'
	option enabled '1'
	list device 'flowguard-none'
"""


@contextmanager
def daemon() -> Iterator[tuple[int, float]]:
    """Its process id and the seconds from exec to the first answer."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "flowguard").write_text(CONFIGURATION)
        control = str(directory / "run" / "control.sock")
        command = [sys.executable, "-m", "flowguard", "run", "--socket", control]
        command += ["--config", str(directory / "flowguard"), "--state-dir", name]
        begin = time.monotonic()
        process = subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield process.pid, _answered(process, control) - begin
        finally:
            process.terminate()
            process.wait()


def _answered(process: subprocess.Popen[bytes], control: str) -> float:
    while process.poll() is None:
        try:
            request(control, "decisions")
            return time.monotonic()
        except (OSError, Unreachable):
            time.sleep(0.002)
    raise SystemExit("the daemon ended at its start; is this root?")


@contextmanager
def bare() -> Iterator[tuple[int, float]]:
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin and process.stdout
    process.stdout.readline()
    try:
        yield process.pid, time.monotonic() - begin
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def pss(pid: int) -> float:
    """Proportional set size in MB."""
    return float(psutil.Process(pid).memory_full_info().pss) / 2**20


def idle(pid: int, seconds: float) -> tuple[float, float]:
    """Wake-ups a second and per cent of one processor while nothing happens."""
    process = psutil.Process(pid)
    before = process.num_ctx_switches().voluntary
    process.cpu_percent()
    time.sleep(seconds)
    wakeups = (process.num_ctx_switches().voluntary - before) / seconds
    return wakeups, float(process.cpu_percent())


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.footprint")
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--idle", type=float, default=30.0, help="seconds")
    options = parser.parse_args()
    medians = []
    for name, start in (("flowguard", daemon), ("asyncio alone", bare)):
        times, sizes = [], []
        for _ in range(options.starts):
            with start() as (pid, seconds):
                times.append(seconds)
                sizes.append(pss(pid))
        medians.append((statistics.median(times), statistics.median(sizes)))
        print(
            f"{name:<14} start {medians[-1][0]:.3f} s (max {max(times):.3f})"
            f"   PSS {medians[-1][1]:.1f} MB (max {max(sizes):.1f})"
        )
    print(
        f"ratio          start {medians[0][0] / medians[1][0]:.1f}"
        f"       PSS {medians[0][1] / medians[1][1]:.2f}"
    )
    with daemon() as (pid, _):
        wakeups, share = idle(pid, options.idle)
        print(f"idle           {wakeups:.2f} wake-ups/s   {share:.2f} % of one processor")
        print(f"after {options.idle:.0f} s     PSS {pss(pid):.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
