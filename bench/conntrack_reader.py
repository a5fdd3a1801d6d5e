# SPDX-License-Identifier: GPL-2.0-or-later
"""The connection-table reader beside `conntrack -L`, over the same table, and its pauses.

Run: python -m bench.conntrack_reader [--kernel 6.12]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from bench.lab import run_in_lab
from flowguard.core.model import FlowTuple
from flowguard.kernel.conntrack import Filter, sweep
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.kernel.conntrack.numbers import (
    CTA_MARK,
    CTA_STATUS,
    CTA_TIMEOUT,
    NEW,
    open_socket,
    request,
)
from flowguard.kernel.netlink.codec import NESTED, NLM_F_CREATE, attribute
from tests.lab.hosts import load_modules
from tests.lab.namespace import run

SMALL, LARGE = 50_000, 200_000
GOAL_RATIO, GOAL_PAUSE = 2.0, 0.050
ROUNDS = 3
IDLE_SECONDS = 10.0  # about as long as a sweep takes: for the pauses that the machine makes
MARK = 0x8000
MARKED = Filter(mark=MARK, mark_mask=MARK)
SEEN_REPLY_ASSURED_CONFIRMED = 0xE
ESTABLISHED = 3


def fill(first: int, last: int) -> None:
    """TCP connections number first to last; one in a hundred is marked."""
    with open_socket() as opened:
        for number in range(first, last):
            opened.send(connection(number, 0 if number % 100 else MARK))
            # A refusal would be queued here; nothing else is.
    found = int(run("conntrack", "-C"))
    if found < last:
        sys.exit(f"only {found} of {last} connections could be made")


def original_of(number: int) -> FlowTuple:
    source = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return FlowTuple("tcp", source, "198.51.100.1", 1024 + number % 60000, 443)


def connection(number: int, mark: int, flags: int = 0) -> bytes:
    """The request to make a TCP connection; the mark is its last four bytes."""
    there = original_of(number)
    back = FlowTuple("tcp", there.destination, there.source, 443, there.source_port)
    state = attribute(1 | NESTED, attribute(1, bytes((ESTABLISHED,))))
    body = encode_tuple(1, there)[1] + encode_tuple(2, back)[1]
    body += attribute(CTA_STATUS, struct.pack("!I", SEEN_REPLY_ASSURED_CONFIRMED))
    body += attribute(CTA_TIMEOUT, struct.pack("!I", 7440)) + attribute(4 | NESTED, state)
    body += attribute(CTA_MARK, struct.pack("!I", mark))
    return request(NEW, NLM_F_CREATE | flags, socket.AF_INET, body)


async def classify(wanted: Filter) -> int:
    """A full sweep with the simplest of judgements; the number of connections."""
    seen = silent = 0
    async for batch in sweep(wanted):
        for entry in batch:
            seen += 1
            silent += not entry.reply_packets
    return seen


def cpu(who: int, action: Callable[[], object]) -> float:
    """User and system seconds of the quickest of several rounds."""
    seconds = []
    for _ in range(ROUNDS):
        before = resource.getrusage(who)
        action()
        after = resource.getrusage(who)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        seconds.append(user + system)
    return min(seconds)


def list_with_conntrack() -> None:
    subprocess.run(["conntrack", "-L"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def longest_pause(work: Awaitable[object]) -> tuple[float, float]:
    """The longest that others on the loop had to wait during the work, in seconds.

    First by the processor time of the loop's thread, then by the clock, which also counts
    what other programs on the machine took.
    """
    cpu = wall = 0.0
    last_cpu, last_wall = time.thread_time(), time.monotonic()
    done = False

    async def beat() -> None:
        nonlocal cpu, wall, last_cpu, last_wall
        while not done:
            await asyncio.sleep(0)
            now_cpu, now_wall = time.thread_time(), time.monotonic()
            cpu, wall = max(cpu, now_cpu - last_cpu), max(wall, now_wall - last_wall)
            last_cpu, last_wall = now_cpu, now_wall

    beating = asyncio.create_task(beat())
    await work
    done = True
    await beating
    return cpu, wall


def inside() -> None:
    load_modules()
    run("sysctl", "-q", "net.netfilter.nf_conntrack_acct=1")
    run("sysctl", "-q", "net.netfilter.nf_conntrack_max=300000")
    # The kernel refuses connections where too many share a bucket.
    run("sysctl", "-q", "net.netfilter.nf_conntrack_buckets=65536")
    fill(0, SMALL)
    own = cpu(resource.RUSAGE_SELF, lambda: asyncio.run(classify(Filter())))
    marked = cpu(resource.RUSAGE_SELF, lambda: asyncio.run(classify(MARKED)))
    theirs = cpu(resource.RUSAGE_CHILDREN, list_with_conntrack)
    print(f"{SMALL} connections, CPU:")
    print(f"    conntrack -L         {theirs:.3f} s")
    print(f"    sweep                {own:.3f} s, ratio {own / theirs:.2f} (goal {GOAL_RATIO})")
    print(f"    sweep, 1 % marked    {marked:.3f} s, ratio {marked / theirs:.2f}", flush=True)
    fill(SMALL, LARGE)
    print(f"{LARGE} connections, longest pause, CPU/clock (goal {GOAL_PAUSE * 1e3:.0f} ms):")
    show_pauses("sweep", lambda: classify(Filter()))
    show_pauses("sweep, 1 % marked", lambda: classify(MARKED))
    show_pauses("nothing at all", lambda: asyncio.sleep(IDLE_SECONDS))


def show_pauses(name: str, work: Callable[[], Awaitable[object]]) -> None:
    async def measure() -> tuple[float, float]:
        return await longest_pause(work())

    pauses = sorted(asyncio.run(measure()) for _ in range(ROUNDS))
    shown = ", ".join(f"{cpu * 1e3:.1f}/{wall * 1e3:.1f}" for cpu, wall in pauses)
    print(f"    {name:<20} {shown} ms", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.conntrack_reader")
    return run_in_lab(parser, lambda options: inside())


if __name__ == "__main__":
    sys.exit(main())
