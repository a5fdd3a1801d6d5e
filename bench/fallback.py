# SPDX-License-Identifier: GPL-2.0-or-later
"""From the kernel's message to the lower level and to the empty engine.

Side by side in one boot of the lab router: flowguard, and the shell loop that people use
today (`dmesg -w | grep` + `nft -f`). Both meet the same message under the same traffic.

Run: python -m bench.fallback [--rounds 30] [--kernel 6.12]
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.lab import run_in_lab
from flowguard.kernel.netlink.codec import NETLINK_NETFILTER, messages_in
from tests.lab.capture import Engine, flowtable, load_ruleset
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.namespace import run
from tests.lab.traffic import Downloads, Uploads
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

MESSAGE = "<2>labengine wan: NETDEV WATCHDOG: CPU: 1: transmit queue 0 timed out 5150 ms"
GROUP = 7  # NFNLGRP_NFTABLES
DELTABLE, DELRULE = 0xA02, 0xA08
PATIENCE = 16.0  # seconds that the engine gets to become empty


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds from the message; `drained` is None when entries were left at the end."""

    stepped: float
    drained: float | None
    left: int


class Changes:
    """The kernel's own word on when a rule or table of a name was removed."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.bind((0, 1 << (GROUP - 1)))
        self._socket.settimeout(60)

    def forget(self) -> None:
        self._socket.setblocking(False)
        try:
            while self._socket.recv(1 << 17):
                pass
        except BlockingIOError:
            self._socket.settimeout(60)

    def removed(self, table: str) -> float:
        """When something of that table was removed, on the monotonic clock."""
        name = table.encode() + b"\0"
        while True:
            for message in messages_in(self._socket.recv(1 << 17)):
                if message.kind in (DELTABLE, DELRULE) and name in message.data:
                    return time.monotonic()


def measure(engine: Engine, changes: Changes, table: str) -> Round:
    changes.forget()
    begin = time.monotonic()
    engine.printk(MESSAGE)
    stepped = changes.removed(table) - begin
    while (left := engine.counter("flows")) and time.monotonic() < begin + PATIENCE:
        time.sleep(0.02)
    drained = None if left else time.monotonic() - begin
    return Round(stepped, drained, left)


def flowguard_rounds(engine: Engine, changes: Changes, count: int) -> Iterator[Round]:
    options = "boot_delay '0'\nhold_off '1'\nhold_off_limit '1'\nsettle '0'"
    daemon = Daemon(Path(tempfile.mkdtemp()), options).start()
    for _ in range(count):
        # What was found before would let a few flows back into hardware only.
        daemon.cli("forget")
        daemon.wait_for_levels(all_on("hardware"))
        _wait_for_flows(engine)
        yield measure(engine, changes, "flowguard")
    daemon.stop("release")


def shell_rounds(engine: Engine, changes: Changes, count: int) -> Iterator[Round]:
    with _shell_loop():
        for _ in range(count):
            engine.flush()
            load_ruleset(f"table inet labft\ndelete table inet labft\n{flowtable()}")
            _wait_for_flows(engine)
            yield measure(engine, changes, "labft")


@contextmanager
def _shell_loop() -> Iterator[None]:
    fallback = Path(tempfile.mkdtemp()) / "software.nft"
    fallback.write_text(f"delete table inet labft\n{flowtable(hardware=False)}")
    watch = "dmesg -w | grep --line-buffered 'NETDEV WATCHDOG'"
    loop = f"{watch} | while read line; do nft -f {fallback}; done"
    # Messages from before do not count: dmesg -w shows them first.
    run("dmesg", "--clear")
    process = subprocess.Popen(["bash", "-c", loop], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _wait_for_flows(engine: Engine) -> None:
    wait_for(lambda: engine.counter("flows") >= 50, "flows in hardware", limit=60)


def show(name: str, rounds: list[Round]) -> None:
    stepped = [r.stepped for r in rounds]
    drained = [r.drained for r in rounds if r.drained is not None]
    print(f"{name:<12} {len(rounds)} rounds", flush=True)
    print(f"    to the lower level   {_quantiles(stepped)}")
    print(f"    to an empty engine   {_quantiles(drained)} ({len(drained)} of {len(rounds)})")
    print(f"    entries left behind  {max(r.left for r in rounds)} at most", flush=True)


def _quantiles(seconds: list[float]) -> str:
    if not seconds:
        return "never"
    last = sorted(seconds)[min(len(seconds) - 1, int(0.99 * len(seconds)))]
    return f"median {statistics.median(seconds):.3f} s, p99 {last:.3f} s"


def inside(count: int) -> None:
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    engine, changes = Engine(), Changes()
    contenders: dict[str, Callable[[Engine, Changes, int], Iterator[Round]]] = {
        "flowguard": flowguard_rounds,
        "shell loop": shell_rounds,
    }
    with Router() as router, Traffic(router) as traffic:
        batch = traffic.start(Downloads(count=20), Uploads(count=10, host="lan2", family=6))
        batch.wait_until_flowing()
        medians = {}
        for name, rounds in contenders.items():
            results = list(rounds(engine, changes, count))
            show(name, results)
            medians[name] = statistics.median(r.stepped for r in results)
        print(f"ratio to the lower level: {medians['flowguard'] / medians['shell loop']:.2f}")
        print(f"connections: {batch.stop()}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.fallback")
    parser.add_argument("--rounds", type=int, default=30)
    return run_in_lab(parser, lambda options: inside(options.rounds))


if __name__ == "__main__":
    sys.exit(main())
