# SPDX-License-Identifier: GPL-2.0-or-later
"""How flows get into flowtables and hardware, and how they leave them again.

After nft_flow_offload.c, nf_flow_table_core.c and nf_flow_table_offload.c.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from flowguard.core.model import Protocol
from flowguard.core.tables.description import PacketsAtLeast
from flowguard.kernel.conntrack import HW_OFFLOAD, OFFLOAD
from tests.simulator.machine.connection import ASSURED, ESTABLISHED, SEEN_REPLY, Connection
from tests.simulator.machine.conntrack import ConnectionTable
from tests.simulator.machine.engine import Engine
from tests.simulator.machine.rules import takes
from tests.simulator.machine.ruleset import HeldTable, Ruleset, Tables
from tests.simulator.world import World

TIMEOUTS = {
    Protocol.TCP: "net/netfilter/nf_flowtable_tcp_timeout",
    Protocol.UDP: "net/netfilter/nf_flowtable_udp_timeout",
}
COLLECTOR_SECONDS = 1.0
STATISTICS_SHARE = 10
"""The kernel asks the engine for counters after a tenth of the timeout."""
AGEING = 8.0
RETRY_SECONDS = 1.0


class Flowtables:
    def __init__(
        self,
        world: World,
        ruleset: Ruleset,
        connections: ConnectionTable,
        engine: Engine,
        sysctls: dict[str, int],
    ) -> None:
        self._world = world
        self._ruleset = ruleset
        self._connections = connections
        self._engine = engine
        self._sysctls = sysctls
        self._delays: Random = world.random("flowtable workers")
        self._ended: dict[Connection, Callable[[], None]] = {}
        connections.removed = self._removed

    # --- in -------------------------------------------------------------------------------

    def packet(self, connection: Connection) -> None:
        """A packet that the network stack sees: rules may hand its flow over."""
        if connection.table or connection.is_gone or self._engine.takes_away(connection):
            return
        connection.settle(self._world.now)
        chains = sorted(self._ruleset.tables.values(), key=lambda table: table.priority)
        for table in chains:
            taken = takes(table, connection)
            if taken and _is_eligible(connection):
                self._enter(connection, table)
                return
        self._wait_for_packets(connection)

    def packet_soon(self, connection: Connection) -> None:
        """Its next packet, whenever its rates bring one."""
        rate = sum(connection.rates)
        if rate <= 0 or connection.is_gone:
            return
        token = connection.token
        wait = min(0.001 + self._delays.expovariate(rate), 60.0)
        self._world.after(wait, lambda: self._later(connection, token))

    def _later(self, connection: Connection, token: int) -> None:
        if connection.token == token:
            self.packet(connection)

    def _wait_for_packets(self, connection: Connection) -> None:
        """A rule may want more packets than there were yet."""
        wanted = [
            match.count
            for table in self._ruleset.tables.values()
            for rule in table.rules
            for match in rule.matches
            if isinstance(match, PacketsAtLeast)
        ]
        missing = max(wanted, default=0) - connection.packets()
        rate = sum(connection.rates)
        if missing > 0 and rate > 0:
            token = connection.token
            self._world.after(missing / rate + 0.01, lambda: self._later(connection, token))

    def _enter(self, connection: Connection, table: HeldTable) -> None:
        connection.token += 1
        connection.table = table.name
        connection.status |= OFFLOAD
        connection.timeout = self._timeout(connection)
        connection.entered = self._world.now
        if table.hardware:
            token = connection.token
            wait = self._delays.uniform(0.002, 0.1)
            self._world.after(wait, lambda: self._replace(connection, token))
        if connection.timeout == 0:
            self._leave_late(connection, 0.0)
        if sum(connection.rates) <= 0:
            self.idle(connection)

    def _replace(self, connection: Connection, token: int) -> None:
        """The worker offers the flow to the driver."""
        table = self._ruleset.tables.get(connection.table or "")
        if connection.token != token or table is None or connection.is_in_engine:
            return
        # A driver accepts the direction out of a port that is not its own, and never sees it.
        bound = not set(connection.ports).isdisjoint(table.devices)
        if not (bound and self._engine.accept(connection)):
            self._world.after(RETRY_SECONDS, lambda: self._replace(connection, token))
            return
        now = self._world.now
        connection.settle(now)
        connection.status |= HW_OFFLOAD
        connection.is_in_engine = True
        connection.lag = max(COLLECTOR_SECONDS, connection.timeout / STATISTICS_SHARE)
        connection.frozen = self._engine.faults.counters_frozen
        if connection.ends:
            connection.ends.moved()

    # --- out ------------------------------------------------------------------------------

    def idle(self, connection: Connection) -> None:
        """No packet comes any more: it expires, unless there are some again."""
        if connection.table:
            self._leave_late(connection, connection.timeout)

    def _leave_late(self, connection: Connection, seconds: float) -> None:
        """The collector finds it then, if it is still idle or may not stay."""
        token, activity = connection.token, connection.activity
        wait = seconds + self._delays.uniform(0.0, COLLECTOR_SECONDS)
        self._world.after(wait, lambda: self._collect(connection, token, activity))

    def _collect(self, connection: Connection, token: int, activity: int) -> None:
        if connection.token != token or not connection.table:
            return
        busy = sum(connection.rates) > 0
        timeout = self._timeout(connection)
        if connection.activity != activity and not busy and timeout > 0:
            return  # There was a packet since; another look is on its way.
        if busy and timeout > 0:
            connection.timeout = timeout
            return
        table = self._ruleset.tables.get(connection.table)
        if busy and table and not table.hardware:
            # Taken anew by its next packet: to everybody else it looks as if it had stayed.
            connection.timeout = timeout
            return
        self.leave(connection)

    def leave(self, connection: Connection, *, is_told: bool = True) -> None:
        """Teardown; `is_told`: the driver is bound still and hears of it."""
        if not connection.table:
            return
        now = self._world.now
        connection.settle(now)
        connection.token += 1
        connection.table = None
        connection.status &= ~(OFFLOAD | HW_OFFLOAD)
        if connection.is_in_engine:
            connection.is_in_engine = False
            if is_told:
                self._engine.delete(connection, now)
            else:
                self._engine.strand(connection, now)
        if connection.ends and not connection.is_gone:
            connection.ends.moved()
        self.packet_soon(connection)

    def leave_soon(self, connection: Connection) -> None:
        """Its entry was made anew: the collector finds the old one dead within a second."""
        token = connection.token
        wait = self._delays.uniform(0.05, COLLECTOR_SECONDS)

        def leave() -> None:
            self._ended.pop(connection, None)
            if connection.token == token:
                self.leave(connection)

        self._ended[connection] = leave
        self._world.after(wait, leave)

    def collect(self) -> None:
        """The collector does not wait: some device went down."""
        for leave in list(self._ended.values()):
            leave()

    def timeouts_changed(self) -> None:
        """What is in hardware keeps the time it has left, and gets the new one after that."""
        for connection in self._connections.by_id.values():
            if not connection.table:
                continue
            timeout = self._timeout(connection)
            if timeout == 0:
                left = connection.timeout * self._delays.uniform(0.9, 1.0)
                self._leave_late(connection, left)
            elif sum(connection.rates) > 0:
                # Refreshed within a tenth of it.
                connection.timeout = timeout

    def freeze(self, frozen: bool) -> None:
        """The engine's counters stop, or move again."""
        self._engine.faults.counters_frozen = frozen
        for connection in self._connections.by_id.values():
            connection.settle(self._world.now)
            connection.frozen = frozen

    def committed(self, before: Tables) -> None:
        """The ruleset is another now: flows of what is gone leave, others may come."""
        for connection in list(self._connections.by_id.values()):
            if connection.table and self._was_unbound(connection, before):
                self.leave(connection, is_told=False)
            elif not connection.table:
                self.packet_soon(connection)

    def _was_unbound(self, connection: Connection, before: Tables) -> bool:
        name = connection.table or ""
        now, then = self._ruleset.tables.get(name), before.get(name)
        if now is None or now is not then:
            # A table that was deleted and made anew in one batch is another one.
            if now is None or then is None or now.identity != then.identity:
                return True
            removed = set(then.devices) - set(now.devices)
            return bool(removed & {*connection.ports, *connection.names}) or not now.devices
        return False

    def device_gone(self, name: str) -> None:
        """NETDEV_DOWN: its flows are torn down while the driver still hears of it."""
        for connection in list(self._connections.by_id.values()):
            if connection.table and name in connection.ports:
                self.leave(connection)

    def _removed(self, connection: Connection) -> None:
        """Its conntrack entry is gone: the collector tells the driver within a second."""
        if connection.is_in_engine:
            wait = self._delays.uniform(0.05, COLLECTOR_SECONDS)
            self._world.after(wait, lambda: self._engine.delete(connection, self._world.now))
            connection.is_in_engine = False
        connection.table = None

    def quiet(self, connection: Connection) -> None:
        """No more traffic: an entry that was forgotten or stranded ages in the engine."""
        self._world.after(AGEING, lambda: self._engine.age(connection))

    def _timeout(self, connection: Connection) -> float:
        protocol = Protocol.TCP if connection.is_tcp else Protocol.UDP
        return float(self._sysctls.get(TIMEOUTS[protocol], 30))


def _is_eligible(connection: Connection) -> bool:
    if connection.is_tcp:
        return connection.tcp_state == ESTABLISHED and bool(connection.status & ASSURED)
    return bool(connection.status & SEEN_REPLY) or connection.packets() > 1
