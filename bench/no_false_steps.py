# SPDX-License-Identifier: GPL-2.0-or-later
"""Trouble that is not the engine's, again and again: how often flowguard steps for it.

Each round is a life of flowguard in the lab router and one kind of trouble.

Run: python -m bench.no_false_steps [--rounds 3] [--only TEXT] [--seconds 120] [--kernel 6.12]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.lab.capture import Engine
from tests.lab.cases import QUIET, Quiet, configure, endure
from tests.lab.daemon import Daemon
from tests.lab.engine.build import build_engine
from tests.lab.guest_python import guest_python
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.kernel import DEFAULT_KERNEL, ensure_kernel
from tests.lab.namespace import run
from tests.lab.traffic.control import Traffic
from tests.lab.vm import Machine


def one_round(
    case: Quiet, engine: Engine, router: Router, traffic: Traffic, seconds: float
) -> list[dict[str, Any]]:
    daemon = configure(Daemon(Path(tempfile.mkdtemp())))
    try:
        return endure(case, daemon, router, traffic, seconds)
    finally:
        traffic.clear()
        daemon.stop(release=True)
        run("conntrack", "-F")
        engine.flush()


def inside(count: int, only: str, seconds: float) -> None:
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    engine = Engine()
    print(f"{'trouble':<32}{'rounds':>7}{'with a step':>13}", flush=True)
    with Router() as router, Traffic(router) as traffic:
        for case in QUIET:
            if only not in case.name:
                continue
            rounds = [one_round(case, engine, router, traffic, seconds) for _ in range(count)]
            print(f"{case.name:<32}{count:>7}{sum(map(bool, rounds)):>13}", flush=True)
            for step in (step for steps in rounds for step in steps):
                print(f"    {step['device'] or 'all'}: {step['evidence']}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.no_false_steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="troubles whose name has this in it")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long each lasts")
    parser.add_argument("--kernel", default=DEFAULT_KERNEL)
    options = parser.parse_args()
    if os.environ.get("LAB_ROUTER"):
        inside(options.rounds, options.only, options.seconds)
        return 0
    kernel = ensure_kernel(options.kernel)
    python = guest_python(LAB_ENGINE=str(build_engine(kernel)))
    arguments = ("--rounds", str(options.rounds), "--only", options.only)
    duration = ("--seconds", str(options.seconds))
    command = [*python, "-m", "bench.no_false_steps", *arguments, *duration]
    return Machine(kernel, limit=6 * 3600).run(command)


if __name__ == "__main__":
    sys.exit(main())
