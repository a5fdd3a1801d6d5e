# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts behind the ports of bridges: who is where, and what has to follow one that moves."""

from __future__ import annotations

from flowguard.core.events import Command, FollowHosts, HostsSeen
from flowguard.core.model import Host, Level
from flowguard.core.records import replace
from flowguard.core.state import State
from flowguard.core.tables.places import ports_of

Step = tuple[State, list[Command]]


def on_hosts(state: State, event: HostsSeen) -> Step:
    """Take over where hosts are; flows that are bound to a port which a host has left let go."""
    before = {host.address: host.port for host in state.hosts}
    now = before | {host.address: host.port for host in event.seen}
    for address in event.gone:
        now.pop(address, None)
    if now == before:
        return state, []
    # Whatever its level is now: hardware may just be drained.
    binding = ports_of(state.devices)
    # Who does not answer any more may be on the way to another port.
    left = {a for a, port in before.items() if now.get(a) != port and port in binding}
    hosts = tuple(Host(address, port) for address, port in sorted(now.items()))
    return replace(state, hosts=hosts), [FollowHosts(tuple(sorted(left)), _lowest_bound(state))]


def _lowest_bound(state: State) -> Level:
    """Software binds them, too, where bridges do not take part themselves."""
    by_port = any(d.bridge_ports and d.by_port for d in state.devices)
    return Level.SOFTWARE if by_port else Level.HARDWARE
