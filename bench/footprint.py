# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon costs when nothing happens: start, memory, wake-ups, processor time.

Started as root on this machine, on a device that does not exist, so it changes nothing; on
ubus, and listening for netifd, where `ubusd` is on PATH. Side by side with a Python that only
imports asyncio and json. What PSS counts of the interpreter's own files depends on how many
other Pythons run; anonymous memory and RSS do not.

Run: python -m bench.footprint [--starts 10] [--idle 30]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from flowguard.service.control import Unreachable, request

ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
UBUSD = shutil.which("ubusd")
BARE = "import asyncio, json, sys; print('up', flush=True); sys.stdin.read()"
CONFIGURATION = """
config flowguard 'globals'
	option enabled '1'
	list device 'flowguard-none'
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """In MB."""

    pss: float
    anonymous: float
    rss: float

    def __str__(self) -> str:
        return f"PSS {self.pss:.1f} MB (anonymous {self.anonymous:.1f}; RSS {self.rss:.1f})"


@contextmanager
def daemon() -> Iterator[tuple[int, float]]:
    """Its process id and the seconds from exec to the first answer."""
    with tempfile.TemporaryDirectory() as name, ubusd(f"{name}/ubus.sock"):
        directory = Path(name)
        (directory / "flowguard").write_text(CONFIGURATION)
        control = str(directory / "run" / "control.sock")
        command = [sys.executable, "-m", "flowguard", "run", "--socket", control]
        command += ["--config", str(directory / "flowguard"), "--state-dir", name]
        command += ["--ubus", f"{name}/ubus.sock"]
        begin = time.monotonic()
        process = subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield process.pid, _answered(process, control) - begin
        finally:
            process.terminate()
            process.wait()


@contextmanager
def ubusd(path: str) -> Iterator[None]:
    """Where there is none, flowguard does without, as it would on such a machine."""
    if not UBUSD:
        yield
        return
    process = subprocess.Popen([UBUSD, "-s", path])
    try:
        while not Path(path).exists():
            time.sleep(0.002)
        yield
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


def memory(pid: int) -> Memory:
    """As proc(5) has it in smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return Memory(sizes["Pss"], sizes["Anonymous"], sizes["Rss"])


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
        times: list[float] = []
        sizes: list[Memory] = []
        for _ in range(options.starts):
            with start() as (pid, seconds):
                times.append(seconds)
                sizes.append(memory(pid))
        size = sorted(sizes, key=lambda size: size.pss)[len(sizes) // 2]
        medians.append((statistics.median(times), size.pss))
        print(f"{name:<14} start {medians[-1][0]:.3f} s (max {max(times):.3f})   {size}")
    print(
        f"ratio          start {medians[0][0] / medians[1][0]:.1f}"
        f"       PSS {medians[0][1] / medians[1][1]:.2f}"
    )
    with daemon() as (pid, _):
        wakeups, share = idle(pid, options.idle)
        print(f"idle           {wakeups:.2f} wake-ups/s   {share:.2f} % of one processor")
        print(f"after {options.idle:.0f} s     {memory(pid)}{' on ubus' if UBUSD else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
