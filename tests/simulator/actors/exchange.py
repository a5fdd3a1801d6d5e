# SPDX-License-Identifier: GPL-2.0-or-later
"""Two programs that talk through the router, and what they do when nobody answers."""

from __future__ import annotations

from random import Random

from flowguard.core.records import frozen
from flowguard.kernel.conntrack import Flow
from tests.simulator.machine.connection import (
    ASSURED,
    CLOSE,
    ESTABLISHED,
    SEEN_REPLY,
    TIME_WAIT,
    Connection,
)
from tests.simulator.machine.engine import Direction
from tests.simulator.machine.kernel import Kernel
from tests.simulator.world import World

FIRST_RETRANSMISSION = 0.3
LONGEST_PAUSE = 120.0
SYN_SECONDS = (1.0, 2.0, 4.0, 8.0)


@frozen
class Kind:
    """What is exchanged: packets a second of each direction, for about `seconds`.

    `pause` above 0: a burst of a few packets once in so many seconds instead. `resets` in a
    hundred end by a reset. `downloads`: when the path is cut, it is the far end that goes on.
    """

    name: str
    protocol: str
    rates: tuple[float, float]
    seconds: tuple[float, float]
    pause: float = 0.0
    resets: int = 5
    downloads: bool = True
    patience: tuple[float, float] = (20.0, 120.0)


@frozen
class Line:
    """The way out: everything that is behind it is gone while it is down."""

    up: bool = True


class Exchange:
    """One conversation; its connection is made anew when the kernel forgets it."""

    def __init__(
        self,
        world: World,
        kernel: Kernel,
        kind: Kind,
        flow: Flow,
        names: tuple[str, str],
        ports: tuple[str, str],
        luck: Random,
    ) -> None:
        self.kind = kind
        self.flow = flow
        self.is_over = False
        self.answers = True
        self.stalled_since: float | None = None
        self._world = world
        self._kernel = kernel
        self._names = names
        self._ports = ports
        self._luck = luck
        self._until = world.now + luck.uniform(*kind.seconds)
        self._gap = FIRST_RETRANSMISSION
        self._attempt = 0
        self._boot = kernel.boots
        self._line_up = True
        self._opening = 0
        self._gives_up = luck.uniform(*kind.patience)
        self.connection = self._open()
        self._say_hello()

    # --- birth ------------------------------------------------------------------------------

    def _open(self) -> Connection:
        connection = self._kernel.connections.open(self.flow, self._names, self._ways())
        connection.ends = self
        return connection

    def _ways(self) -> tuple[str, str]:
        """The ports that packets pass now, wherever the host is."""
        near = self._kernel.neighbourhood.port_of(self.flow.original.source)
        return near or self._ports[0], self._ports[1]

    def _say_hello(self) -> None:
        """SYN, or the first datagram: the router sees it, whatever becomes of it."""
        if self._is_dead():
            return
        connection = self.connection
        if connection.is_gone:
            self.connection = connection = self._open()
        connection.counted[0] += 1
        self._kernel.flowtables.packet(connection)
        if self._line_up and self.answers:
            self._world.after(self._luck.uniform(0.005, 0.1), self._greeted)
        elif self._opening < len(SYN_SECONDS):
            wait = SYN_SECONDS[self._opening]
            self._opening += 1
            self._world.after(wait, self._say_hello)
        else:
            self._finish()

    def _greeted(self) -> None:
        if self._is_dead():
            return
        if not self._line_up:
            self._world.after(1.0, self._say_hello)
            return
        connection = self.connection
        if connection.is_gone:
            self._say_hello()
            return
        connection.counted[1] += 1
        connection.status |= SEEN_REPLY
        if connection.is_tcp:
            connection.counted[0] += 1
            connection.status |= ASSURED
            connection.tcp_state = ESTABLISHED
        self._kernel.connections.keep(connection)
        self._kernel.flowtables.packet(connection)
        self._world.at(max(self._until, self._world.now + 0.01), self._end)
        if self.kind.pause:
            self._burst()
        else:
            self._flow()

    # --- life -------------------------------------------------------------------------------

    def set_line(self, up: bool) -> None:
        self._line_up = up
        self.moved()

    def moved(self) -> None:
        """The packets take another way: does it lead anywhere?"""
        if not self._is_dead() and self.connection.status & SEEN_REPLY and not self.kind.pause:
            self._flow()

    def forgotten(self) -> None:
        """Its next packet makes the kernel learn it anew, in the midst."""
        if self._is_dead() or not self.connection.status & SEEN_REPLY:
            return
        rate = max(sum(self.kind.rates), 0.01)
        wait = self._gap if self.stalled_since is not None else self._luck.expovariate(rate)
        self._world.after(min(wait, LONGEST_PAUSE), self._reappear)

    def _reappear(self) -> None:
        if self._is_dead() or not self.connection.is_gone:
            return
        if former := self._kernel.connections.by_flow.get(self.flow):
            self._kernel.connections.end(former, killed=False)
        self.connection = connection = self._open()
        connection.counted[0] += 1
        self._kernel.flowtables.packet(connection)
        if self._line_up:
            self._world.after(self._luck.uniform(0.005, 0.1), self._picked_up)

    def _picked_up(self) -> None:
        connection = self.connection
        if self._is_dead() or connection.is_gone:
            return
        connection.counted[1] += 1
        connection.status |= SEEN_REPLY | (ASSURED if connection.is_tcp else 0)
        if connection.is_tcp:
            connection.tcp_state = ESTABLISHED
        self._kernel.connections.keep(connection)
        self._kernel.flowtables.packet(connection)
        self.moved()

    def _flow(self) -> None:
        """Go on as fast as the kind does, or as those who are not heard."""
        kernel, connection = self._kernel, self.connection
        cut = self._cut()
        hidden = kernel.engine.takes_away(connection)
        if cut is None:
            self.stalled_since = None
            self._gap = FIRST_RETRANSMISSION
            self._set_rates((0.0, 0.0) if hidden else self.kind.rates)
        elif self.stalled_since is None:
            self.stalled_since = self._world.now
            self._attempt += 1
            attempt = self._attempt
            self._set_rates((0.0, 0.0))
            self._world.after(self._gap, lambda: self._retransmit(attempt))
            if connection.table:
                kernel.flowtables.idle(connection)

    def _cut(self) -> Direction | None:
        """Which direction does not get through; both count as one."""
        if not self._line_up:
            return Direction.BOTH
        engine, connection = self._kernel.engine, self.connection
        if not connection.is_in_engine:
            # The bridge sends each packet to where the host is.
            connection.ports = self._ways()
        elif connection.ports != self._ways():
            return Direction.REPLY
        in_engine = connection.is_in_engine or engine.takes_away(connection)
        if in_engine and engine.loses(connection):
            return engine.faults.blackhole_direction
        return None

    def _retransmit(self, attempt: int) -> None:
        """Once more, and then after twice the pause."""
        if self._is_dead() or attempt != self._attempt or self.stalled_since is None:
            return
        connection = self.connection
        if self._world.now - self.stalled_since > self._gives_up:
            self._close(resets=True)
            return
        cut = self._cut()
        if cut is None:
            self._flow()
            return
        if connection.is_gone:
            self._reappear()
        elif not self._kernel.engine.takes_away(connection):
            connection.settle(self._world.now)
            both = cut is not Direction.BOTH
            goes = self.kind.downloads and self._line_up
            connection.counted[0] += both or not goes
            connection.counted[1] += both or goes
            if connection.table:
                # A packet keeps the flow where it is for one more timeout.
                connection.activity += 1
                self._kernel.flowtables.idle(connection)
            else:
                self._kernel.flowtables.packet(connection)
                if self._cut() is None:
                    self._flow()
                    return
        self._gap = min(self._gap * 2, LONGEST_PAUSE)
        self._world.after(self._gap, lambda: self._retransmit(attempt))

    def _burst(self) -> None:
        """A few packets, and then nothing for a while."""
        if self._is_dead():
            return
        connection = self.connection
        if connection.is_gone:
            self._reappear()
        elif self._cut() is None and not self._kernel.engine.takes_away(connection):
            connection.settle(self._world.now)
            connection.counted[0] += 2
            connection.counted[1] += 2
            self._kernel.connections.keep(connection)
            if connection.table:
                connection.activity += 1
                self._kernel.flowtables.idle(connection)
            else:
                self._kernel.flowtables.packet(connection)
        self._world.after(self._luck.uniform(0.5, 1.5) * self.kind.pause, self._burst)

    def _set_rates(self, rates: tuple[float, float]) -> None:
        connection = self.connection
        connection.settle(self._world.now)
        before, connection.rates = connection.rates, rates
        if sum(rates) > 0 and sum(before) == 0:
            if connection.table:
                connection.activity += 1
            else:
                self._kernel.flowtables.packet_soon(connection)

    # --- end --------------------------------------------------------------------------------

    def _end(self) -> None:
        if self._is_dead():
            return
        if self.stalled_since is not None:
            return  # It has not got through with everything, and waits until it gives up.
        self._close(resets=self._luck.randrange(100) < self.kind.resets)

    def _close(self, *, resets: bool) -> None:
        kernel, connection = self._kernel, self.connection
        self.is_over = True
        if connection.is_gone:
            return
        self._set_rates((0.0, 0.0))
        kernel.flowtables.quiet(connection)
        if not connection.is_tcp:
            kernel.flowtables.idle(connection)
            kernel.connections.expire_after(connection, 180)
            return
        if resets:
            # An established connection that is reset while offloaded keeps its state.
            if not connection.table:
                connection.tcp_state = CLOSE
            kernel.flowtables.leave(connection)
            kernel.connections.expire_after(connection, 10)
        else:
            kernel.flowtables.leave(connection)
            connection.tcp_state = TIME_WAIT
            kernel.connections.expire_after(connection, 120)

    def _finish(self) -> None:
        self.is_over = True
        if not self.connection.is_gone:
            self._kernel.connections.expire_after(self.connection, 60)

    def _is_dead(self) -> bool:
        return self.is_over or self._kernel.boots != self._boot
