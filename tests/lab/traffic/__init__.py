# SPDX-License-Identifier: GPL-2.0-or-later
"""A traffic generator that knows the fate of every connection; `control` starts it.

Nothing here that the agents do not need: each import costs them a second of emulation.
"""

from __future__ import annotations

from tests.lab.traffic.patterns import (
    Datagrams,
    Downloads,
    Ending,
    KeepAlives,
    Pattern,
    PortScan,
    Requests,
    Uploads,
)
from tests.lab.traffic.report import ConnectionResult, Fate, Report

__all__ = [
    "ConnectionResult",
    "Datagrams",
    "Downloads",
    "Ending",
    "Fate",
    "KeepAlives",
    "Pattern",
    "PortScan",
    "Report",
    "Requests",
    "Uploads",
]
