# SPDX-License-Identifier: GPL-2.0-or-later
"""Arms that a story writes into the marks of its connections, instead of a hash of addresses."""

from __future__ import annotations

from flowguard.kernel.conntrack import Entry, Flow
from flowguard.sensors.arms.drawing import Drawing

CONTROL = 0x1


class MarkedArms(Drawing):
    """Every connection takes part; who has the bit CONTROL is of the control arm."""

    def __init__(self, control_share: float) -> None:
        super().__init__()
        self._share = control_share

    @property
    def control_share(self) -> float:
        return self._share

    def hash_of(self, entry: Entry) -> int:
        return entry.id << 1 | entry.mark & CONTROL

    def is_control(self, connection_hash: int) -> bool:
        return bool(connection_hash & CONTROL)

    def is_watched(self, connection_hash: int) -> bool:
        return True

    def concerns(self, entry: Entry, flow: Flow, pair: tuple[str, str] | None) -> bool:
        return True
