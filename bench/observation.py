# SPDX-License-Identifier: GPL-2.0-or-later
"""What the observation costs with a full table: processor time, memory, time to answer.

In the lab router; `conntrack -E` hears the same connections come and go beside it.

Run: python -m bench.observation [--seconds 60] [--observed 1] [--kernel 6.12]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.footprint import pss
from flowguard.conntrack.flow import encode_tuple
from flowguard.conntrack.wire import (
    CTA_MARK,
    CTA_STATUS,
    CTA_TIMEOUT,
    DELETE,
    NEW,
    open_socket,
    request,
)
from flowguard.core.model import FlowTuple
from flowguard.offload.nfnetlink import NESTED, NLM_F_CREATE, attribute
from tests.lab.daemon import Daemon, all_on
from tests.lab.engine.build import build_engine
from tests.lab.guest_python import guest_python
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.kernel import DEFAULT_KERNEL, ensure_kernel
from tests.lab.namespace import run
from tests.lab.vm import Machine

TABLE, RATE = 50_000, 500
OBSERVE, CONTROL = 0x8000, 0x02000000
CONTROL_SHARE = 16
SEEN_REPLY_ASSURED_CONFIRMED = 0xE
ESTABLISHED = 3


def original_of(number: int) -> FlowTuple:
    source = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return FlowTuple("tcp", source, "198.51.100.1", 1024 + number % 60000, 443)


def connection(number: int, observed: int) -> bytes:
    """A connection drawn as the rules would: one in `observed` of them is observed."""
    there = original_of(number)
    back = FlowTuple("tcp", there.destination, there.source, 443, 1024 + number % 60000)
    mark = (0 if number % observed else OBSERVE) | (
        0 if number // observed % CONTROL_SHARE else CONTROL
    )
    body = encode_tuple(1, there)[1] + encode_tuple(2, back)[1]
    body += attribute(CTA_STATUS, struct.pack("!I", SEEN_REPLY_ASSURED_CONFIRMED))
    body += attribute(CTA_TIMEOUT, struct.pack("!I", 7440))
    body += attribute(4 | NESTED, attribute(1 | NESTED, attribute(1, bytes((ESTABLISHED,)))))
    body += attribute(CTA_MARK, struct.pack("!I", mark))
    return request(NEW, NLM_F_CREATE, socket.AF_INET, body)


def renew(first: int, observed: int) -> None:
    """RATE times a second a connection more and the oldest one less, for ever."""
    begin, number = time.monotonic(), first
    with open_socket() as opened:
        while True:
            while number - first < (time.monotonic() - begin) * RATE:
                opened.send(connection(number, observed))
                family, key = encode_tuple(1, original_of(number - TABLE))
                opened.send(request(DELETE, 0, family, key))
                number += 1
            time.sleep(0.02)


def answers(daemon: Daemon, seconds: float) -> str:
    """How long `status` takes to be answered, asked ten times a second."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        daemon.status()
        times.append((time.monotonic() - begin) * 1e3)
        time.sleep(0.1)
    cuts = statistics.quantiles(times, n=100)
    return f"p50 {cuts[49]:.1f}  p99 {cuts[98]:.1f}  max {max(times):.1f} ms"


def spent(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def report(name: str, pid: int, action: Callable[[], object], beside: int | None = None) -> None:
    pids = [pid] if beside is None else [pid, beside]
    before, begin = [spent(each) for each in pids], time.monotonic()
    answered = action()
    lasted = time.monotonic() - begin
    shares = [(spent(p) - b) / lasted * 100 for p, b in zip(pids, before, strict=True)]
    print(f"{name:<24}{shares[0]:6.2f} % CPU {pss(pid):6.1f} MB   {answered}", flush=True)
    if beside is not None:
        print(f"{'conntrack -E':<24}{shares[1]:6.2f} % CPU {pss(beside):6.1f} MB", flush=True)


def inside(seconds: float, observed: int) -> None:
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    run("sysctl", "-q", "net.netfilter.nf_conntrack_max=200000")
    run("sysctl", "-q", "net.netfilter.nf_conntrack_buckets=65536")
    with Router():
        daemon = Daemon(Path(tempfile.mkdtemp())).start()
        try:
            daemon.wait_for_levels(all_on("hardware"))
            report("flowguard, empty table", daemon.pid, lambda: answers(daemon, seconds / 6))
            with open_socket() as opened:
                for number in range(TABLE):
                    opened.send(connection(number, observed))
            print(f"{run('conntrack', '-C').strip()} connections", flush=True)
            loaded(daemon, seconds, observed)
            print(f"{run('conntrack', '-C').strip()} connections", flush=True)
            print(daemon.log.read_text()[-1500:], flush=True)
        finally:
            daemon.stop(release=True)


def loaded(daemon: Daemon, seconds: float, observed: int) -> None:
    generator = multiprocessing.Process(target=renew, args=(TABLE, observed), daemon=True)
    generator.start()
    events = subprocess.Popen(
        ["conntrack", "-E"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        name = f"flowguard, 1 in {observed} observed"
        report(name, daemon.pid, lambda: answers(daemon, seconds), events.pid)
    finally:
        events.terminate()
        events.wait()
        generator.terminate()
        generator.join()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.observation")
    parser.add_argument("--seconds", type=float, default=60.0, help="under load")
    parser.add_argument("--observed", type=int, default=1, help="one flow in so many is")
    parser.add_argument("--kernel", default=DEFAULT_KERNEL)
    options = parser.parse_args()
    if os.environ.get("LAB_ROUTER"):
        inside(options.seconds, options.observed)
        return 0
    kernel = ensure_kernel(options.kernel)
    python = guest_python(LAB_ENGINE=str(build_engine(kernel)))
    command = [*python, "-m", "bench.observation", "--seconds", str(options.seconds)]
    return Machine(kernel, limit=1800).run([*command, "--observed", str(options.observed)])


if __name__ == "__main__":
    sys.exit(main())
