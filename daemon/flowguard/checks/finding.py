# SPDX-License-Identifier: GPL-2.0-or-later
"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` is for programs, `sentence` and `remedy` are for people."""

    grade: Grade
    code: str
    sentence: str
    remedy: str = ""
