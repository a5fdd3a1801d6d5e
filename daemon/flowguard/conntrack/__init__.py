# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's connection table: dumps, the ends of connections, removal."""

from flowguard.conntrack.dump import DumpInterrupted, Look, count, look, sweep
from flowguard.conntrack.entry import Entry
from flowguard.conntrack.events import DestroyEvents
from flowguard.conntrack.flow import Flow
from flowguard.conntrack.lookup import find
from flowguard.conntrack.marking import clear_mark
from flowguard.conntrack.removal import delete
from flowguard.conntrack.wire import (
    HW_OFFLOAD,
    IN_HARDWARE,
    IN_SOFTWARE,
    OFFLOAD,
    OFFLOADED,
    Filter,
)

__all__ = [
    "HW_OFFLOAD",
    "IN_HARDWARE",
    "IN_SOFTWARE",
    "OFFLOAD",
    "OFFLOADED",
    "DestroyEvents",
    "DumpInterrupted",
    "Entry",
    "Filter",
    "Flow",
    "Look",
    "clear_mark",
    "count",
    "delete",
    "find",
    "look",
    "sweep",
]
