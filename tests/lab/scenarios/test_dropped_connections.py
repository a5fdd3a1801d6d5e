# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine drops connections without a word: flowguard finds it, and they resume."""

from __future__ import annotations

import pytest

from tests.lab.capture import Engine, hardware_flows
from tests.lab.cases import FAULTS, Fault, arriving, configure, lasting, steps_down
from tests.lab.daemon import Daemon
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

# Seconds for the evidence to suffice; the table of delays has less than this at the
# scenarios' rate, but for the faults that are marked slow.
LIMIT = 180.0
SLOW_LIMIT = 1800.0


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, id=str(f), marks=[pytest.mark.slow] * f.slow) for f in FAULTS],
)
def test_fault_is_found_and_connections_resume(
    daemon: Daemon, engine: Engine, traffic: Traffic, fault: Fault
) -> None:
    configure(daemon)
    transfers = traffic.start(*lasting())
    transfers.wait_until_flowing()
    traffic.start(*arriving())
    wait_for(lambda: hardware_flows() >= transfers.wanted, "flows in hardware")
    with engine.fault(**fault.values):
        status = daemon.wait_for_levels(fault.levels, SLOW_LIMIT if fault.slow else LIMIT)
        evidence = "\n".join(d["evidence"] for d in steps_down(status)).lower()
        assert all(word in evidence for word in fault.named), evidence
        assert "none" not in daemon.levels().values()
        # The fault goes on: who resumes has left the hardware that has it.
        report = transfers.stop()
    assert len(report.alive) == transfers.wanted, report
    assert fault.levels.items() <= daemon.levels().items()
