# SPDX-License-Identifier: GPL-2.0-or-later
"""What a check says."""

from __future__ import annotations

from enum import StrEnum

from flowguard.core.records import frozen


class Grade(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    ERROR = "error"


@frozen
class Finding:
    """`code` is for programs, `sentence` and `remedy` are for people."""

    grade: Grade
    code: str
    sentence: str
    remedy: str = ""
