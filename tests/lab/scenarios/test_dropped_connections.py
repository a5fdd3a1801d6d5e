# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine drops connections without a word: flowguard finds it, and they resume."""

from __future__ import annotations

import pytest

from tests.lab.capture import Engine, drawing_rule, hardware_flows, load_ruleset
from tests.lab.cases import FAULTS, Fault, arriving, configure, lasting, steps_down
from tests.lab.daemon import Daemon, all_on
from tests.lab.hosts import Router
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


# A box in the WAN that drops what comes from some ports, and a NAT that gives these ports to
# half of the flows, which are treated also while the control arm is widened: as like the
# engine's fault as can be, but it is not left by a step down. Nor by another port of these,
# which the NAT may give to a connection that was pulled: one that begins in the middle is dropped.
TREATED_PORTS = "20000-29999"
NAT = """
table inet labports {{
    chain srcnat {{
        type nat hook postrouting priority srcnat - 1
        meta nfproto ipv4 meta l4proto tcp meta oifname wan {hash} >= {limit} \\
            masquerade to :{ports}
    }}
}}
"""
DROP = f"""
table inet labbox {{
    chain input {{
        type filter hook input priority filter
        tcp sport {TREATED_PORTS} ct original packets > 2 drop
        tcp sport {TREATED_PORTS} ct original packets 1 tcp flags & syn != syn drop
    }}
}}
"""


@pytest.mark.slow
def test_a_fault_that_goes_on_below_leads_back_up_and_no_further(
    daemon: Daemon, router: Router, traffic: Traffic
) -> None:
    configure(daemon)
    draw = drawing_rule()
    load_ruleset(NAT.format(hash=draw.hash, limit=draw.modulus // 2, ports=TREATED_PORTS))
    wan = router.hosts["wan"]
    wan.run("nft", "-f", "-", stdin=DROP)
    try:
        traffic.start(*arriving())
        daemon.wait_for_levels({"lan1": "software", "wan": "software"}, SLOW_LIMIT)
        status = daemon.wait_for_levels(all_on("hardware"), SLOW_LIMIT)
    finally:
        wan.run("nft", "delete table inet labbox")
    reasons = [d["reason"] for d in status["decisions"]]
    assert any(reason.startswith("exonerated") for reason in reasons), reasons
    assert status["control"]["muted_until"]
    assert "none" not in {d["to"] for d in status["decisions"]}
