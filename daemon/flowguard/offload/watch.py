# SPDX-License-Identifier: GPL-2.0-or-later
"""Notices that somebody else deletes or changes our tables."""

from __future__ import annotations

from collections.abc import Callable


class TableWatch:
    """Calls `suspect` (debounced, ~50 ms) when our tables may be gone: ask `Converger.intact`."""

    def __init__(self, own_port: int, suspect: Callable[[], None]) -> None:
        """Listens on the running loop at once; `own_port` is `Nftables.port`."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
