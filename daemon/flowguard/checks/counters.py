# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose counters are wrong at which level, because packets pass below what is counted."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator

from flowguard.checks.finding import Finding, Grade
from flowguard.core.model import Level
from flowguard.core.records import frozen


@frozen
class Counting:
    """What a program counts by. At a level without a sentence it is right."""

    program: str
    software: str
    hardware: str


_BY_DEVICE = (
    "it counts by network device: one that offloaded packets pass below, as a bridge, a VLAN or"
    " PPPoE, shows too few of them"
)
_BY_DEVICE_HARDWARE = f"{_BY_DEVICE}; in hardware a port may, too, if its driver does not ask it"
_BY_CONNECTION = (
    "it counts by connection: right in software, and in hardware only where the engine counts"
    " (counters_proven in `flowguard status --json`)"
)
PROGRAMS = (
    Counting("nlbwmon", "", _BY_CONNECTION),
    Counting("vnstat", _BY_DEVICE, _BY_DEVICE_HARDWARE),
    Counting("collectd", _BY_DEVICE, _BY_DEVICE_HARDWARE),
    Counting("luci_statistics", _BY_DEVICE, _BY_DEVICE_HARDWARE),
)
# The counters that are there without any program.
_CONNTRACK = "conntrack's bytes are right in software"
_HARDWARE = "; in hardware they are where the engine counts, and so are LuCI's connections"
_WIFI = "; iwinfo's bytes of a station miss what Wi-Fi hardware forwards by itself"


def look(level: Level, root: str = "/") -> Iterator[Finding]:
    """For the programs whose init script is enabled below `root`, up to this level."""
    if level is Level.NONE:
        return
    hardware = level is Level.HARDWARE
    for counting in PROGRAMS:
        scripts = os.path.join(root, "etc/rc.d", f"S[0-9][0-9]{counting.program}")
        sentence = counting.hardware if hardware else counting.software
        if sentence and glob.glob(scripts):
            yield Finding(Grade.WARNING, "counters", f"{counting.program}: {sentence}", "none")
    yield Finding(Grade.FINE, "counters", _CONNTRACK + (_HARDWARE + _WIFI if hardware else ""))
