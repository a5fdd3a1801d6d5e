# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole story inside the lab router: offload, a driver fault, the fallback, the proof.

With `--stay` it ends in a shell while everything keeps running.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowguard.cli.status import describe
from tests.lab.capture import Engine, hardware_flows
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import Router, load_engine, load_modules
from tests.lab.traffic import Datagrams, Downloads, KeepAlives, Uploads
from tests.lab.traffic.control import Batch, Traffic
from tests.lab.wait import wait_for

# The default paths, so that `flowguard status` in the shell finds the daemon.
RUNTIME = Path("/var/run/flowguard")
STATE = Path("/etc/flowguard")
CONFIGURATION = Path("/etc/config/flowguard")
CONNECTIONS = (
    Downloads(count=20),
    Uploads(count=10, host="lan2"),
    Downloads(count=10, host="lan2", family=6),
    KeepAlives(count=5, interval=2),
    Datagrams(count=5),
)


@dataclass
class Narrator:
    """Prints what happens, with the seconds since the story began."""

    begin: float

    def say(self, text: str) -> None:
        print(f"\n\033[1m[{time.monotonic() - self.begin:6.1f} s] {text}\033[0m", flush=True)

    def show(self, lines: list[str]) -> None:
        print("\n".join(f"    {line}" for line in lines), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.lab.demo")
    parser.add_argument("--stay", action="store_true", help="end in a shell")
    stay = parser.parse_args().stay
    narrator = Narrator(time.monotonic())
    narrator.say("a router with a packet engine: hosts lan1 and lan2, masquerade, host wan")
    load_modules()
    load_engine(Path(os.environ["LAB_ENGINE"]))
    router = Router()
    router.set_up()
    daemon = Daemon(RUNTIME, state=STATE, configuration=CONFIGURATION)
    with Traffic(router) as traffic:
        told = Story(narrator, Engine(), daemon, traffic).tell()
        if stay:
            narrator.say("everything keeps running; try: flowguard status, nft list ruleset,")
            print("    cat /sys/kernel/debug/ppe0/bind, ls /sys/kernel/debug/labengine/fault")
            subprocess.run(["bash", "-i"], check=False)
    daemon.stop("release")
    return 0 if told else 1


@dataclass
class Story:
    narrator: Narrator
    engine: Engine
    daemon: Daemon
    traffic: Traffic

    def tell(self) -> bool:
        """The acts in order; whether it ended well."""
        say = self.narrator.say
        say("flowguard starts with its default configuration")
        self.daemon.start()
        self.status()
        batch = self.traffic.start(*CONNECTIONS)
        batch.wait_until_flowing()
        say(f"{len(batch.report().flowing)} connections run; waiting for hardware")
        self.daemon.wait_for_levels(all_on("hardware"))
        wait_for(lambda: hardware_flows() > 20, "flows in hardware", state=self.daemon.status)
        hits = self.engine.counter("hits")
        wait_for(lambda: self.engine.counter("hits") > hits + 200, "hits of the engine")
        say("hardware forwards: the engine's own counters move")
        self.status()
        say("the driver breaks: its next offload request runs into a WARN")
        self.engine.set_fault("warn_on_replace", 1)
        before = self.engine.counter("replace")
        more = self.traffic.start(Downloads(count=3))
        wait_for(lambda: self.engine.counter("replace") > before, "the driver to be called")
        struck = time.monotonic()
        wait_for(lambda: self.daemon.levels()["wan"] == "software", "the step", interval=0.05)
        say(f"stepped down {time.monotonic() - struck:.1f} s after the driver was called;")
        self.watch_the_drain()
        drained = time.monotonic() - struck
        say("hardware is empty; the level is software, and the reason is on record")
        status = self.status()
        return self.summary(batch, more, drained, status)

    def watch_the_drain(self) -> None:
        def drained() -> bool:
            status = self.daemon.status()
            left = len(self.engine.bound())
            self.narrator.show([f"{status['state']:<9} {left:3} entries left in the engine"])
            return status["drain"] is None

        wait_for(drained, "the drain to end", limit=120, interval=1, state=self.daemon.status)

    def status(self) -> dict[str, Any]:
        status = self.daemon.status()
        self.narrator.show(["$ flowguard status", *describe(status)])
        return status

    def summary(self, batch: Batch, more: Batch, drained: float, status: dict[str, Any]) -> bool:
        reports = [batch.report(), more.report()]
        alive = sum(len(report.alive) for report in reports)
        lost = sum(len(report.lost) for report in reports)
        bound = len(self.engine.bound())
        self.narrator.say("summary")
        self.narrator.show(
            [
                f"connections alive       {alive} of {sum(len(r.results) for r in reports)}",
                f"connections lost        {lost}",
                f"longest pause           {max(r.longest_gap for r in reports):.1f} s",
                f"engine entries left     {bound}",
                f"fault to empty engine   {drained:.1f} s",
                f"level now               {status['level']} ({status['state']})",
                f"evidence                {status['decisions'][-1]['evidence']}",
            ]
        )
        return lost == 0 and bound == 0


if __name__ == "__main__":
    sys.exit(main())
