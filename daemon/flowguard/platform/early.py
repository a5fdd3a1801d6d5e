# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals that come before the loop listens, so that none is lost."""

from __future__ import annotations

_heard: set[int] = set()


def note(number: int, frame: object) -> None:
    """A handler for signal.signal()."""
    _heard.add(number)


def heard(number: int) -> bool:
    return number in _heard
