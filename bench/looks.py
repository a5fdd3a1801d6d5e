# SPDX-License-Identifier: GPL-2.0-or-later
"""What a look at the arms costs: at all answered connections, beside those with a bit alone.

A former release marked the connections that it followed, at most 6000, and had the kernel
leave the others out. Now all that were answered are read, and only newcomers are hashed. Both
are timed on this machine's kernel, in a new network namespace: the first look, which
finds newcomers only, and a later one, which finds the same connections again.

Run: unshare --net python -m bench.looks
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable

from bench.conntrack_reader import connection
from flowguard.core.arms.drops import OBSERVED_MOST
from flowguard.core.model import Device, Level
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel.conntrack import Filter, sweep
from flowguard.kernel.conntrack.numbers import open_socket
from flowguard.sensors.arms.census import Census
from flowguard.sensors.arms.drawing import Drawing
from flowguard.sensors.arms.looks import ANSWERED
from tests.marked_arms import MarkedArms

SIZES = (1_000, 10_000, 50_000)
MARK = 0x8000
MARKED = Filter(mark=MARK, mark_mask=MARK)
ROUNDS = 5
DEVICES = [Device("lan", 1), Device("wan", 2)]
TABLE = plan(DEVICES, {"lan": Level.SOFTWARE, "wan": Level.SOFTWARE}, OffloadSettings()).software


def fill(first: int, last: int) -> None:
    with open_socket() as opened:
        for number in range(first, last):
            opened.send(connection(number, MARK if number < OBSERVED_MOST else 0))


def looks(wanted: Filter, drawing: Callable[[int], Drawing], size: int) -> tuple[float, float]:
    """Processor milliseconds of a first look and of a later one; the quickest of some."""
    firsts, laters = [], []
    for _ in range(ROUNDS):
        census = Census(lambda flow: ("lan", "wan"), ends_are_visible=True)
        census.begin(1, drawing(size), in_hardware=False, anew=True)
        census.judge(0.0)
        firsts.append(timed(census, wanted))
        laters.append(timed(census, wanted))
    return min(firsts), min(laters)


def timed(census: Census, wanted: Filter) -> float:
    async def look() -> None:
        async for batch in sweep(wanted):
            census.look(time.monotonic(), batch)
        census.judge(time.monotonic())

    before = spent()
    asyncio.run(look())
    return 1e3 * (spent() - before)


def spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def hashed(size: int) -> Drawing:
    share = 1
    while size > OBSERVED_MOST * share:
        share *= 4
    return Drawing(TABLE, share)


def main() -> None:
    if os.geteuid():
        sys.exit("needs root")
    print("connections   first, later look in ms: with a bit    by a hash")
    filled = 0
    for size in SIZES:
        fill(filled, size)
        filled = size
        bit = looks(MARKED, lambda _: MarkedArms(16), size)
        every = looks(ANSWERED, hashed, size)
        shown = "".join(f"{first:12.1f}{later:9.1f}" for first, later in (bit, every))
        print(f"{size:11}{shown}", flush=True)


if __name__ == "__main__":
    main()
