# SPDX-License-Identifier: GPL-2.0-or-later
"""How long dropped connections go unnoticed, beside what the test's table promises.

Each round is a life of flowguard in the lab router: traffic, a fault of the engine, the
step, and whether the transfers of before go on after it while the fault lasts.

Run: python -m bench.dropped_connections [--rounds 5] [--only TEXT] [--kernel 6.12]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.lab import run_in_lab
from tests.lab.capture import Engine
from tests.lab.cases import FAULTS, RATE, Fault, arriving, configure, lasting, steps_down
from tests.lab.daemon import Daemon
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.kernel import LabError
from tests.lab.namespace import run
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

HEALTHY = 60.0  # seconds before the fault: as much as this bench gives of the 6 h
PATIENCE = 1800.0  # seconds until a fault counts as not found
# Median and 90 % of the simulated test with the control share widened on suspicion, at
# 10 connections a second, for the share of treated connections that fails; seconds
# without the age at which connections are judged.
PROMISED = {
    "all flows": (20, 30),
    "half of the flows": (30, 40),
    "a fifth of the flows": (70, 100),
    "one flow in twenty": (470, 700),
}


@dataclass(frozen=True, slots=True)
class Round:
    """`seconds` from the fault to the first step that status shows; None: not found."""

    seconds: float | None
    named: frozenset[str]
    resumed: int
    lost: int


def one_round(fault: Fault, engine: Engine, traffic: Traffic) -> Round:
    daemon = configure(Daemon(Path(tempfile.mkdtemp())))
    try:
        transfers = traffic.start(*lasting())
        transfers.wait_until_flowing()
        traffic.start(*arriving())
        time.sleep(HEALTHY)
        with engine.fault(**fault.values):
            seconds = _until_step(daemon)
            steps = steps_down(daemon.status())
            report = transfers.stop(prove=seconds is not None)
        named = frozenset(f"{d['device'] or 'all'}: {d['evidence']}" for d in steps)
        return Round(seconds, named, len(report.alive), len(report.lost))
    finally:
        traffic.clear()
        daemon.stop("release")
        run("conntrack", "-F")
        engine.flush()


def _until_step(daemon: Daemon) -> float | None:
    try:
        return wait_for(lambda: bool(steps_down(daemon.status())), "a step", PATIENCE, interval=0.5)
    except LabError:
        return None


def show(fault: Fault, rounds: list[Round]) -> None:
    found = sorted(r.seconds for r in rounds if r.seconds is not None)
    median = f"{statistics.median(found):.0f}" if found else "-"
    ninth = f"{found[int(0.9 * (len(found) - 1) + 0.5)]:.0f}" if found else "-"
    promised = "{}/{}".format(*PROMISED[fault.name]) if fault.name in PROMISED else ""
    print(
        f"{fault.name:<22}{len(rounds):>7}{len(found):>7}{median + '/' + ninth:>12}"
        f"{promised:>14}{sum(r.resumed for r in rounds):>10}{sum(r.lost for r in rounds):>6}"
    )
    for name in sorted(set().union(*(r.named for r in rounds))):
        print(f"    {name}", flush=True)


def inside(count: int, only: str) -> None:
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    engine = Engine()
    print(f"{RATE:.0f} new TCP connections/s; promised: at 10/s, without their age")
    print(
        f"{'fault':<22}{'rounds':>7}{'found':>7}{'med/p90 s':>12}{'promised s':>14}"
        f"{'resumed':>10}{'lost':>6}",
        flush=True,
    )
    with Router() as router, Traffic(router) as traffic:
        for fault in FAULTS:
            if only in fault.name:
                show(fault, [one_round(fault, engine, traffic) for _ in range(count)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.dropped_connections")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    return run_in_lab(parser, lambda options: inside(options.rounds, options.only), hours=6)


if __name__ == "__main__":
    sys.exit(main())
