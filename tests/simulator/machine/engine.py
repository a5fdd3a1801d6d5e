# SPDX-License-Identifier: GPL-2.0-or-later
"""The packet engine and its driver, with everything that can be wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from zlib import crc32

from flowguard.core.records import mutable
from flowguard.kernel.conntrack import Flow
from flowguard.kernel.engines import EngineEntry
from tests.simulator.machine.connection import Connection


class Direction(StrEnum):
    BOTH = "both"
    ORIGINAL = "original"
    REPLY = "reply"


@mutable
class EngineFaults:
    """As the lab's engine has them (tests/lab/engine/labengine_faults.c)."""

    refuses: bool = False
    table_limit: int = 16384
    blackhole_flows: int = 0
    blackhole_direction: Direction = Direction.BOTH
    blackhole_after_packets: int = 0
    bind_direction: Direction = Direction.BOTH
    counters_frozen: bool = False
    forgets: bool = False


@mutable
class Slot:
    """Both directions of a flow in the engine. `is_told`: its driver will be asked to delete it;
    otherwise it was stranded, or the driver has forgotten it, at the time `left_at`."""

    flow: Flow
    ports: tuple[str, str]
    direction: Direction
    is_told: bool = True
    left_at: float = 0.0


class Engine:
    """`is_shown`: its table can be read in debugfs. `entered` hears of each new flow."""

    def __init__(self) -> None:
        self.faults = EngineFaults()
        self.slots: dict[Flow, Slot] = {}
        self.is_shown = True
        self.stranded = 0
        self.entered: Callable[[Connection], None] = lambda connection: None

    def accept(self, connection: Connection) -> bool:
        """REPLACE of a flow."""
        faults = self.faults
        if faults.refuses or len(self.slots) >= faults.table_limit:
            return False
        if self.takes_away(connection):
            return False  # EEXIST: a leaked entry is in the way.
        self.slots[connection.flow] = Slot(connection.flow, connection.ports, faults.bind_direction)
        self.entered(connection)
        return True

    def delete(self, connection: Connection, now: float) -> None:
        """DESTROY of a flow, answered with success at any rate."""
        slot = self.slots.get(connection.flow)
        if slot is None:
            return
        if self.faults.forgets:
            slot.is_told, slot.left_at = False, now
        else:
            del self.slots[connection.flow]

    def strand(self, connection: Connection, now: float) -> None:
        """The driver was unbound before anybody told it of this flow's end."""
        if slot := self.slots.get(connection.flow):
            slot.is_told, slot.left_at = False, now
            self.stranded += 1

    def takes_away(self, connection: Connection) -> bool:
        """Whether packets of it still vanish into an entry that the kernel knows nothing of."""
        slot = self.slots.get(connection.flow)
        return slot is not None and not slot.is_told

    def age(self, connection: Connection) -> None:
        """An entry without traffic goes by itself, unless its driver is the kind that forgets."""
        slot = self.slots.get(connection.flow)
        if slot and not slot.is_told and not self.faults.forgets:
            del self.slots[connection.flow]

    def mend(self) -> None:
        """A good driver again, and none of its old sins is left."""
        self.faults = EngineFaults()
        self.slots = {flow: slot for flow, slot in self.slots.items() if slot.is_told}

    def loses(self, connection: Connection) -> bool:
        """Whether the engine swallows packets of this flow now."""
        faults = self.faults
        if not faults.blackhole_flows or connection.packets() < faults.blackhole_after_packets:
            return False
        return crc32(connection.key) % 100 < faults.blackhole_flows

    def entries(self, *, only_bound: bool) -> Iterator[EngineEntry]:
        for slot in self.slots.values():
            one_way = slot.direction is not Direction.BOTH
            for flow, direction in (
                (slot.flow.original, Direction.ORIGINAL),
                (slot.flow.reply, Direction.REPLY),
            ):
                bound = not one_way or slot.direction is direction
                if bound or not only_bound:
                    yield EngineEntry(flow, None, bound, None)
