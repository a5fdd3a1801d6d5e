# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for conditions, never for time."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

from tests.lab.kernel import LabError


def wait_for(
    condition: Callable[[], bool],
    what: str,
    limit: float = 60.0,
    interval: float = 0.2,
    state: Callable[[], object] | None = None,
) -> float:
    """Poll until the condition holds; returns the seconds that took.

    Raises LabError after `limit` seconds, naming `what` was awaited and, if given, the
    `state` at the end.
    """
    begin = asked = monotonic()
    while not condition():
        now = monotonic()
        if now - begin > limit:
            seen = f"; in the end: {state()}" if state else ""
            raise LabError(f"waited {limit:.0f} s for {what}{seen}")
        # A condition that is costly to look at must not become the load.
        sleep(max(interval, now - asked))
        asked = monotonic()
    return monotonic() - begin
