# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections die and the engine is sound: flowguard stays where it is."""

from __future__ import annotations

from tests.lab.capture import Engine
from tests.lab.cases import QUIET, configure, endure
from tests.lab.daemon import Daemon
from tests.lab.hosts import Router
from tests.lab.traffic.control import Traffic


def test_trouble_that_is_not_the_engines_leads_to_no_step(
    daemon: Daemon, engine: Engine, router: Router, traffic: Traffic
) -> None:
    """All in one life, as in a household: what is left of one trouble meets the next."""
    configure(daemon)
    for case in QUIET:
        steps = endure(case, daemon, router, traffic)
        assert not steps, f"{case}: {steps}"
