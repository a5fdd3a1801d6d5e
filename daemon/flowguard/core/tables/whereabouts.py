# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts behind the ports of bridges: who is where, and what has to follow one that moves."""

from __future__ import annotations

from collections.abc import Collection

from flowguard.core.events import Command, FollowHosts, HostsSeen
from flowguard.core.model import Host, Level, Mover
from flowguard.core.records import replace
from flowguard.core.state import MOVES_MOST, SETTLED_SECONDS, State
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
    # Who does not answer any more may be on the way to another port.
    left = {a for a, port in before.items() if now.get(a) != port and _binds(state, port)}
    hosts = tuple(Host(address, port) for address, port in sorted(now.items()))
    moving = [a for a, port in before.items() if now.get(a, port) != port]
    state = replace(state, hosts=hosts, movers=_movers(state, moving))
    return state, [FollowHosts(tuple(sorted(left)), _lowest_bound(state))]


def on_time(state: State) -> Step:
    """Whoever moved too often and has stayed since is behind its port from now on."""
    movers = _movers(state, ())
    if movers == state.movers:
        return state, []
    settled = any(m.moves > MOVES_MOST for m in {*state.movers} - {*movers})
    return replace(state, movers=movers), [FollowHosts()] if settled else []


def _movers(state: State, moving: Collection[str]) -> tuple[Mover, ...]:
    """Those that have moved lately, with the hosts that move now."""
    since = state.time - SETTLED_SECONDS
    movers = {m.address: m for m in state.movers if m.moved > since}
    for address in moving:
        moves = movers[address].moves if address in movers else 0
        movers[address] = Mover(address, moves + 1, state.time)
    return tuple(sorted(movers.values(), key=lambda mover: mover.address))


def _binds(state: State, port: str) -> bool:
    """Whether flows are bound to the port: whatever its level is now, as hardware may just be
    drained; and all, before the first look at the devices.
    """
    return not state.devices or port in ports_of(state.devices)


def _lowest_bound(state: State) -> Level:
    """Software binds them, too, where bridges do not take part themselves."""
    by_port = any(d.bridge_ports and d.by_port for d in state.devices)
    return Level.SOFTWARE if by_port else Level.HARDWARE
