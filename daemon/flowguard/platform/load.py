# SPDX-License-Identifier: GPL-2.0-or-later
"""How busy the processors are with packets, which is what offloading is to spare them."""

from __future__ import annotations

import psutil

from flowguard.core.records import frozen

SAMPLE_SECONDS = 0.3


@frozen
class Load:
    """Per cent of each processor, busy in all and busy in softirq, and memory in bytes."""

    busy: tuple[float, ...]
    softirq: tuple[float, ...]
    memory_available: int


def measure(seconds: float = SAMPLE_SECONDS) -> Load:
    """Watch all processors for so long (proc_stat(5), by psutil)."""
    processors = psutil.cpu_times_percent(interval=seconds, percpu=True)
    return Load(
        busy=tuple(100 - p.idle for p in processors),
        softirq=tuple(p.softirq for p in processors),
        memory_available=psutil.virtual_memory().available,
    )
