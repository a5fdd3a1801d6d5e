# SPDX-License-Identifier: GPL-2.0-or-later
"""Placeholder until the crash evidence is merged."""

from __future__ import annotations

from dataclasses import dataclass

from flowguard.core.faults import FaultRules
from flowguard.core.model import Fault


@dataclass(frozen=True, slots=True)
class CrashEvidence:
    faults: tuple[Fault, ...] = ()
    judged: tuple[str, ...] = ()
    watchdog: bool = False
    sources: tuple[tuple[str, str], ...] = ()


def look(rules: FaultRules, judged: tuple[str, ...]) -> CrashEvidence:
    return CrashEvidence()
