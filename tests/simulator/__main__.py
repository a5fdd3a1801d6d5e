# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m tests.simulator`: many routers, each by its seed; one that fails can be seen again."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.simulator.scenario import Result, run
from tests.simulator.scene import listen

SHOWN = 3


def main() -> int:
    options = _options()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets are walked in the order of hashes, and one seed has to mean one trace.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulator", *sys.argv[1:]])
    if options.reverts:
        return _find_reverts(options.jobs)
    first, count = (options.first, options.seeds) if options.seed is None else (options.seed, 1)
    seeds = range(first, first + count)
    started = time.monotonic()
    hours, steps, violations = 0.0, 0, 0
    for result in _results(seeds, options.hours * 3600, options.trace, options.jobs):
        hours += result.seconds / 3600
        steps += result.steps
        violations += len(result.violations)
        for line in result.trace if options.trace else ():
            print(line)
        for text in result.violations[:SHOWN]:
            print(f"seed {result.seed}, at {text}", flush=True)
    seconds = time.monotonic() - started
    print(
        f"{len(seeds)} seeds, {hours:.1f} simulated hours, {steps} steps,"
        f" {violations} violations, {seconds:.1f} seconds"
    )
    return 1 if violations else 0


def _find_reverts(jobs: int) -> int:
    """Take back each mend alone; 1 when one is not found."""
    from tests.simulator.reverts import MENDS, find

    missing = 0
    with ProcessPoolExecutor(jobs, initializer=listen) as pool:
        for row, found in zip(MENDS, pool.map(find, MENDS), strict=True):
            missing += found is None
            told = f"seed {found.seed}: {found.violation[:160]}" if found else "NOT FOUND"
            print(f"row {row}: {told}", flush=True)
    print(f"{len(MENDS) - missing} passed, {missing} failed")
    return 1 if missing else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (%(default)s)")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--hours", type=float, default=1.0, help="for each router (%(default)s)")
    parser.add_argument("--trace", action="store_true", help="print what happens, step by step")
    parser.add_argument("--reverts", action="store_true", help="what is found without a mend")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    return parser.parse_args()


def _results(seeds: range, seconds: float, tracing: bool, jobs: int) -> Iterator[Result]:
    if jobs == 1 or len(seeds) == 1:
        listen()
        for seed in seeds:
            yield run(seed, seconds, tracing=tracing)
        return
    with ProcessPoolExecutor(jobs, initializer=listen) as pool:
        running = [pool.submit(run, seed, seconds, tracing=tracing) for seed in seeds]
        for done in as_completed(running):
            yield done.result()


if __name__ == "__main__":
    sys.exit(main())
