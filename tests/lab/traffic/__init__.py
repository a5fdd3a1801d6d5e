# SPDX-License-Identifier: GPL-2.0-or-later
"""A traffic generator that knows the fate of every connection."""

from __future__ import annotations

from tests.lab.traffic.control import Batch, Traffic
from tests.lab.traffic.patterns import (
    Datagrams,
    Downloads,
    KeepAlives,
    Pattern,
    Requests,
    Uploads,
)
from tests.lab.traffic.report import ConnectionResult, Fate, Report

__all__ = [
    "Batch",
    "ConnectionResult",
    "Datagrams",
    "Downloads",
    "Fate",
    "KeepAlives",
    "Pattern",
    "Report",
    "Requests",
    "Traffic",
    "Uploads",
]
