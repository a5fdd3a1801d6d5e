# SPDX-License-Identifier: GPL-2.0-or-later
"""Trouble that is not the engine's, again and again: how often flowguard steps for it.

Each round is a life of flowguard in the lab router, with all kinds of trouble one after the
other; after a step a new life begins. The table grows with each trouble, so that a run that
is interrupted tells as well.

Run: python -m bench.no_false_steps [--rounds 3] [--only TEXT] [--kernel 6.12]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.lab import run_in_lab
from tests.lab.capture import Engine
from tests.lab.cases import QUIET, Quiet, configure, endure
from tests.lab.daemon import Daemon
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.namespace import run
from tests.lab.traffic.control import Traffic


@contextmanager
def life(engine: Engine) -> Iterator[Daemon]:
    """A flowguard that has just begun, with nothing left of those before it."""
    daemon = configure(Daemon(Path(tempfile.mkdtemp())))
    try:
        yield daemon
    finally:
        daemon.stop("release")
        run("conntrack", "-F")
        engine.flush()


def one_round(
    cases: list[Quiet], engine: Engine, router: Router, traffic: Traffic
) -> Iterator[tuple[Quiet, list[dict[str, Any]]]]:
    """Each trouble, and the steps down that it led to."""
    left = iter(cases)
    case = next(left, None)
    while case:
        with life(engine) as daemon:
            steps: list[dict[str, Any]] = []
            while case and not steps:
                steps = endure(case, daemon, router, traffic)
                yield case, steps
                case = next(left, None)


def inside(count: int, only: str) -> None:
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    engine = Engine()
    cases = [case for case in QUIET if only in case.name]
    runs, stepped = Counter[str](), Counter[str]()
    print(f"{'trouble':<32}{'seconds':>8}{'runs':>6}{'with a step':>13}", flush=True)
    with Router() as router, Traffic(router) as traffic:
        for _ in range(count):
            for case, steps in one_round(cases, engine, router, traffic):
                runs[case.name] += 1
                stepped[case.name] += bool(steps)
                print(
                    f"{case.name:<32}{case.seconds:8.0f}{runs[case.name]:6}{stepped[case.name]:13}",
                    flush=True,
                )
                for step in steps:
                    print(f"    {step['device'] or 'all'}: {step['evidence']}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.no_false_steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="troubles whose name has this in it")
    return run_in_lab(parser, lambda options: inside(options.rounds, options.only), hours=6)


if __name__ == "__main__":
    sys.exit(main())
