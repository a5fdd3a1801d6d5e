# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel-log lines -> faults, by rules that are data."""

from __future__ import annotations

from collections.abc import Iterable

from flowguard.core.faults.assembler import QUIET_SECONDS, FaultAssembler
from flowguard.core.faults.code import strength
from flowguard.core.faults.matcher import FaultRule, FaultRules, RuleError, RuleSource
from flowguard.core.faults.record import LogRecord
from flowguard.core.model import Attribution, Fault

__all__ = [
    "QUIET_SECONDS",
    "FaultAssembler",
    "FaultRule",
    "FaultRules",
    "LogRecord",
    "RuleError",
    "RuleSource",
    "verdict",
]


def verdict(faults: Iterable[Fault]) -> Attribution:
    """The strongest attribution among the faults; NONE when there is none."""
    return max((fault.attribution for fault in faults), key=strength, default=Attribution.NONE)
