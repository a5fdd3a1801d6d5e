# SPDX-License-Identifier: GPL-2.0-or-later
"""Network devices: which take part, what is below and above them, and when that changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowguard.core.model import Device


@dataclass(frozen=True, slots=True)
class Links:
    devices: tuple[Device, ...]
    missing: tuple[str, ...]


def scan(configured: Sequence[str], sys: str = "/sys") -> Links:
    """The configured devices that exist, and those that do not; with none configured, all
    devices with hardware of their own that are up (wired Ethernet and DSA user ports).
    """
    raise NotImplementedError


class LinkWatch:
    """Calls `changed` (debounced) after any device appeared, vanished, was renamed or changed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Listens on the running loop at once."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
