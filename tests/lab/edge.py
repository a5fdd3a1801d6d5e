# SPDX-License-Identifier: GPL-2.0-or-later
"""The offload edge as scenarios drive it: no policy, no daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from flowguard.actuators.approach import Converger
from flowguard.core.events import DrainProgress
from flowguard.core.model import Device, Level
from flowguard.core.tables.description import Plan
from flowguard.core.tables.plan import OffloadSettings, plan
from flowguard.kernel.machine import Machine
from flowguard.kernel.nftables.ordered import OrderedTables
from tests.lab.daemon import PORTS
from tests.lab.traffic import Datagrams, Downloads, KeepAlives, Uploads
from tests.lab.traffic.control import Batch, Traffic

FLOW_TIMEOUT = 5
NO_CONTROL_GROUP = OffloadSettings(control_share=0)

Result = TypeVar("Result")


class Kernel:
    """The converger and what it reported; `run` carries one coroutine to its end."""

    def __init__(self, machine: Machine, runner: asyncio.Runner, runtime_directory: Path) -> None:
        self.machine = machine
        self._runner = runner
        self.drains: list[DrainProgress] = []
        self.runtime_directory = runtime_directory
        self.converger = self.new_converger()

    def new_converger(self) -> Converger:
        """As after a restart."""
        return Converger(
            self.machine,
            OrderedTables(self.machine.tables, self.machine.clock.now),
            str(self.runtime_directory),
            self.drains.append,
            flow_timeout=FLOW_TIMEOUT,
        )

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(work)

    def converge(self, wanted: Plan) -> None:
        self.run(asyncio.wait_for(self.converger.converge(wanted), 120))


def all_at(level: Level, settings: OffloadSettings = NO_CONTROL_GROUP) -> Plan:
    return levels(dict.fromkeys(PORTS, level), settings)


def levels(of: dict[str, Level], settings: OffloadSettings = NO_CONTROL_GROUP) -> Plan:
    return plan([Device(name, 0) for name in of], of, settings)


def timeouts() -> list[int]:
    files = Path("/proc/sys/net/netfilter").glob("nf_flowtable_*p_timeout")
    return [int(file.read_text()) for file in files]


def flowing(traffic: Traffic, count: int = 4) -> Batch:
    """5 kinds of `count` connections: both families and protocols, busy and idle."""
    batch = traffic.start(
        Downloads(count=count),
        Uploads(count=count, host="lan2"),
        Downloads(count=count, family=6),
        Datagrams(count=count),
        KeepAlives(count=count, interval=2, host="lan2", family=6),
    )
    batch.wait_until_flowing()
    return batch


def assert_all_alive(batch: Batch, count: int = 20) -> None:
    report = batch.stop()
    assert len(report.alive) == count and not report.lost, report
