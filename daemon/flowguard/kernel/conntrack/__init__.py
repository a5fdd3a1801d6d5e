# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's connection table: dumps, the ends of connections, removal."""

from flowguard.kernel.conntrack.dump import DumpInterrupted, sweep
from flowguard.kernel.conntrack.ended import DestroyEvents
from flowguard.kernel.conntrack.entry import Entry
from flowguard.kernel.conntrack.flow import Flow
from flowguard.kernel.conntrack.hashing import connection_hash
from flowguard.kernel.conntrack.lookup import find
from flowguard.kernel.conntrack.numbers import (
    HELPED,
    HW_OFFLOAD,
    IN_HARDWARE,
    IN_SOFTWARE,
    OFFLOAD,
    OFFLOADED,
    TCP,
    UDP,
    Filter,
)
from flowguard.kernel.conntrack.removal import delete
from flowguard.kernel.conntrack.renewal import renew

__all__ = [
    "HELPED",
    "HW_OFFLOAD",
    "IN_HARDWARE",
    "IN_SOFTWARE",
    "OFFLOAD",
    "OFFLOADED",
    "TCP",
    "UDP",
    "DestroyEvents",
    "DumpInterrupted",
    "Entry",
    "Filter",
    "Flow",
    "connection_hash",
    "delete",
    "find",
    "renew",
    "sweep",
]
