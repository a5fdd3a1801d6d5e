# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections die and the engine is sound: flowguard stays where it is."""

from __future__ import annotations

from contextlib import suppress

from tests.lab.capture import Engine
from tests.lab.cases import QUIET, Quiet, arriving, configure, lasting, steps_down
from tests.lab.daemon import Daemon
from tests.lab.hosts import Router
from tests.lab.kernel import LabError
from tests.lab.traffic.control import Traffic
from tests.lab.wait import wait_for

# As long as it takes for those that were struck at their start to be judged twice.
SECONDS = 65.0


def step_during(case: Quiet, daemon: Daemon, router: Router, traffic: Traffic) -> str:
    """What flowguard did while the trouble lasted and its victims were judged."""
    with case.impairment(router):
        if case.patterns:
            traffic.start(*case.patterns)
        with suppress(LabError):
            wait_for(lambda: bool(steps_down(daemon.status())), "a step", SECONDS, interval=2)
    return "\n".join(f"{d['reason']}: {d['evidence']}" for d in steps_down(daemon.status()))


def test_trouble_that_is_not_the_engines_leads_to_no_step(
    daemon: Daemon, engine: Engine, router: Router, traffic: Traffic
) -> None:
    """All in one life, as in a household: what is left of one trouble meets the next."""
    configure(daemon)
    for case in QUIET:
        if case.background:
            traffic.start(*lasting(), *arriving())
        assert not step_during(case, daemon, router, traffic), case.name
        traffic.clear()
