# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of connections: births, ends and who hears of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowguard.kernel.conntrack import Entry, Filter, Flow
from tests.simulator.machine.connection import Connection
from tests.simulator.world import World

Ended = Callable[[list[Entry]], None]


class EndListener:
    """`lost` is called when events did not fit; `broken` when there are none any more."""

    def __init__(
        self,
        wanted: Filter,
        ended: Ended,
        lost: Callable[[], None],
        broken: Callable[[str], None],
    ) -> None:
        self.wanted = wanted
        self.ended = ended
        self.lost = lost
        self.broken = broken


class ConnectionTable:
    """`error` refuses every dump and look-up; `interrupts` so many dumps are not to be trusted."""

    def __init__(self, world: World) -> None:
        self.by_id: dict[int, Connection] = {}
        self.by_flow: dict[Flow, Connection] = {}
        self.listeners: list[EndListener] = []
        self.error: Exception | None = None
        self.interrupts = 0
        self.removed: Callable[[Connection], None] = lambda connection: None
        self._world = world
        self._number = 1000
        self._carried = 0  # by connections that have ended

    def open(self, flow: Flow, names: tuple[str, str], ports: tuple[str, str]) -> Connection:
        self._number += 1
        connection = Connection(self._number, flow, names, ports, self._world.now)
        if former := self.by_flow.get(flow):
            self.end(former, killed=False)
        self.by_id[connection.id] = connection
        self.by_flow[flow] = connection
        return connection

    def expire_after(self, connection: Connection, seconds: float) -> None:
        """It ends by itself then, unless something comes in between."""
        connection.expiry = self._world.now + seconds
        self._world.at(connection.expiry, lambda: self._expire(connection))

    def keep(self, connection: Connection) -> None:
        connection.expiry = self._world.now + 7440

    def end(self, connection: Connection, *, killed: bool) -> None:
        """Remove it and announce that."""
        if connection.is_gone:
            return
        now = self._world.now
        connection.is_gone = True
        connection.token += 1
        del self.by_id[connection.id]
        if self.by_flow.get(connection.flow) is connection:
            del self.by_flow[connection.flow]
        if self.listeners:
            entry = connection.entry(now, destroyed=True, killed=killed)
            for listener in tuple(self.listeners):
                if matches(entry, listener.wanted):
                    listener.ended([entry])
        connection.settle(now)
        self._carried += connection.carried(now)
        self.removed(connection)
        if connection.ends:
            connection.ends.forgotten()

    def delete(self, flows: Sequence[Flow]) -> None:
        for flow in flows:
            if connection := self.by_flow.get(flow):
                self._world.tell("conntrack: delete %s", flow.original)
                self.end(connection, killed=True)

    def flush(self) -> None:
        for connection in list(self.by_id.values()):
            self.end(connection, killed=True)

    def carried(self) -> int:
        """The bytes of all connections there were and are."""
        now = self._world.now
        return self._carried + sum(c.carried(now) for c in self.by_id.values())

    def overrun(self) -> None:
        for listener in tuple(self.listeners):
            listener.lost()

    def break_down(self, error: Exception) -> None:
        """From now on nothing can be read, and nothing is announced any more."""
        self.error = error
        for listener in tuple(self.listeners):
            listener.broken(str(error))
        self.listeners.clear()

    def mend(self) -> None:
        self.error = None

    def _expire(self, connection: Connection) -> None:
        if not connection.is_gone and self._world.now >= connection.expiry:
            self.end(connection, killed=False)


def matches(entry: Entry | Connection, wanted: Filter) -> bool:
    return (
        entry.status & wanted.status_mask == wanted.status
        and entry.mark & wanted.mark_mask == wanted.mark
    )
