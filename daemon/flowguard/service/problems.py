# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with configuration, memory and surroundings, for the status: a line each."""

from __future__ import annotations

import logging
from collections.abc import Iterable

log = logging.getLogger(__name__)


class Problems:
    """Kept by where they come from: that one source is looked at anew forgets no other."""

    def __init__(self) -> None:
        self._lines: dict[str, tuple[str, ...]] = {}

    def found(self, source: str, lines: Iterable[str]) -> None:
        """These are the problems of this source now; what is new, or over, is logged."""
        former, now = self._lines.get(source, ()), tuple(lines)
        self._lines[source] = now
        for line in now:
            if line not in former:
                log.warning("%s", line)
        if former and not now:
            log.info("%s: what was wrong has been mended", source)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(line for lines in self._lines.values() for line in lines)
