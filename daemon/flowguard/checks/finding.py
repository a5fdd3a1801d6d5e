# SPDX-License-Identifier: GPL-2.0-or-later
"""What a check says."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from flowguard.core.records import frozen


class Grade(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    ERROR = "error"


@frozen
class Finding:
    """`code` is for programs, `sentence` and `remedy` are for people.

    `section` is what can be put into /etc/config/flowguard as it is.
    """

    grade: Grade
    code: str
    sentence: str
    remedy: str = ""
    section: str = ""


def exclude_section(lines: Sequence[str]) -> str:
    """A section that keeps the flows of these options off; "" without any."""
    return "".join(["config exclude\n", *(f"\t{line}\n" for line in lines)]) if lines else ""
