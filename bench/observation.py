# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon costs with a full connection table, beside `conntrack -E > /dev/null`.

In the lab router: a table of 50 000 connections, of which the oldest 500 a second make room
for new ones. All look answered, so the daemon follows as many as it wants. They carry no
packets, so none of them has an outcome; a few real transfers prove the counters. Only the
kernel is asked meanwhile: a status request would be paid for by the daemon.

Run: python -m bench.observation [--seconds 480] [--kernel 6.12]
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.conntrack_reader import connection, original_of
from bench.footprint import memory
from bench.lab import run_in_lab
from flowguard.kernel.conntrack.flow import encode_tuple
from flowguard.kernel.conntrack.numbers import (
    CTA_TUPLE_ORIG,
    DELETE,
    error_of,
    open_socket,
    request,
)
from flowguard.kernel.netlink.codec import NLM_F_ACK
from tests.lab.cases import lasting
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.namespace import run
from tests.lab.traffic.control import Traffic

TABLE, RATE = 50_000, 500
PULSE = 0.1  # seconds between batches of new connections
WINDOW = 60.0  # seconds that a line of the report stands for
RECEIVE = 1 << 16
ANSWERS_MOST = 100  # More of them do not fit into a socket's buffer.


@dataclass
class Connections:
    """The table: `renew` makes connections and deletes as many of the oldest."""

    opened: socket.socket = field(default_factory=open_socket)
    newest: int = 0
    oldest: int = 0
    created: int = 0  # acknowledged by the kernel
    deleted: int = 0

    def __post_init__(self) -> None:
        # Made beforehand: the bench must not take the processor from what it measures. A
        # connection has the addresses of the one that was deleted TABLE connections ago.
        self._new = [connection(number, 0, NLM_F_ACK) for number in range(TABLE)]
        self._delete = [_deletion(number) for number in range(TABLE)]

    def create(self, count: int) -> None:
        numbers = range(self.newest, self.newest + count)
        self.newest += count
        self.created += self._send([self._new[number % TABLE] for number in numbers])

    def delete(self, count: int) -> None:
        numbers = range(self.oldest, self.oldest + count)
        self.oldest += count
        self.deleted += self._send([self._delete[number % TABLE] for number in numbers])

    def _send(self, batch: list[bytes]) -> int:
        """How many of the requests the kernel took; it answers each by a datagram."""
        taken = 0
        for first in range(0, len(batch), ANSWERS_MOST):
            part = batch[first : first + ANSWERS_MOST]
            self.opened.send(b"".join(part))
            answers = (self.opened.recv(RECEIVE) for _ in part)
            taken += sum(error_of(answer, 0).errno == 0 for answer in answers)
        return taken


def _deletion(number: int) -> bytes:
    family, key = encode_tuple(CTA_TUPLE_ORIG, original_of(number))
    return request(DELETE, NLM_F_ACK, family, key)


@dataclass
class Program:
    """One that is measured; shares are per cent of one processor."""

    name: str
    pid: int

    def __post_init__(self) -> None:
        self._process = psutil.Process(self.pid)
        self.begin()

    def begin(self) -> None:
        self._since, self._spent = time.monotonic(), self._times()
        self.memory = memory(self.pid).pss

    def look(self) -> None:
        self.memory = max(self.memory, memory(self.pid).pss)

    def report(self) -> str:
        self.look()
        share = (self._times() - self._spent) / (time.monotonic() - self._since)
        return f"{share:10.2%}{self.memory:8.1f} MB"

    def _times(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def measure(connections: Connections, programs: list[Program], seconds: float) -> None:
    print(
        f"{'seconds':>8}{'in table':>10}{'new/s':>7}{'deleted/s':>11}"
        + "".join(f"{program.name + ': CPU, PSS':>26}" for program in programs),
        flush=True,
    )
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        created, deleted = connections.created, connections.deleted
        lasted = one_window(connections, programs)
        print(
            f"{time.monotonic() - begin:8.0f}{int(run('conntrack', '-C')):10}"
            f"{(connections.created - created) / lasted:7.0f}"
            f"{(connections.deleted - deleted) / lasted:11.0f}"
            + "".join(f"{program.report():>26}" for program in programs),
            flush=True,
        )


def one_window(connections: Connections, programs: list[Program]) -> float:
    """Its length in seconds."""
    for program in programs:
        program.begin()
    begin, renewed, pulses = time.monotonic(), 0, 0
    while (passed := time.monotonic() - begin) < WINDOW:
        due = int(passed * RATE) - renewed
        connections.delete(due)
        connections.create(due)
        renewed, pulses = renewed + due, pulses + 1
        if pulses % 100 == 0:
            for program in programs:
                program.look()
        time.sleep(PULSE)
    return time.monotonic() - begin


def inside(seconds: float) -> None:
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    run("sysctl", "-q", "net.netfilter.nf_conntrack_max=200000")
    run("sysctl", "-q", "net.netfilter.nf_conntrack_buckets=65536")
    with Router() as router, Traffic(router) as traffic:
        daemon = Daemon(Path(tempfile.mkdtemp()), "boot_delay '0'").start()
        daemon.wait_for_levels(all_on("hardware"))
        traffic.start(*lasting(1)).wait_until_flowing()
        print(f"PSS with an empty table: {memory(daemon.pid).pss:.1f} MB", flush=True)
        listener = subprocess.Popen(
            ["conntrack", "-E"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            connections = Connections()
            for _ in range(TABLE // RATE):
                connections.create(RATE)
            programs = [Program("flowguard", daemon.pid), Program("conntrack -E", listener.pid)]
            measure(connections, programs, seconds)
            print(f"observed: {daemon.status()['control']['observed']}", flush=True)
        finally:
            listener.terminate()
            listener.wait()
            daemon.stop("release")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.observation")
    parser.add_argument("--seconds", type=float, default=480.0)
    return run_in_lab(parser, lambda options: inside(options.seconds))


if __name__ == "__main__":
    sys.exit(main())
