# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts behind the ports of bridges: who is where, and what has to follow one that moves."""

from __future__ import annotations

from flowguard.core.events import Command, FollowHosts, HostsSeen
from flowguard.core.model import Host, Level
from flowguard.core.records import replace
from flowguard.core.state import State

Step = tuple[State, list[Command]]


def on_hosts(state: State, event: HostsSeen) -> Step:
    """Take over where hosts are; flows that are bound to a port which a host has left let go."""
    before = {host.address: host.port for host in state.hosts}
    now = before | {host.address: host.port for host in event.seen}
    for address in event.gone:
        now.pop(address, None)
    if now == before:
        return state, []
    binding = _binding(state)
    moved = tuple(
        address
        for address, port in sorted(now.items())
        if before.get(address, port) != port and before[address] in binding
    )
    hosts = tuple(Host(address, port) for address, port in sorted(now.items()))
    return replace(state, hosts=hosts), [FollowHosts(moved, _lowest_bound(state))]


def _binding(state: State) -> set[str]:
    """The ports that flows may be bound to: those that are in a flowtable themselves."""
    return {
        port
        for device in state.devices
        for port in device.bridge_ports
        if state.reached_by(device.name) is Level.HARDWARE or not device.bridges
    }


def _lowest_bound(state: State) -> Level:
    """Software binds them, too, where bridges do not take part themselves."""
    by_port = any(d.bridge_ports and not d.bridges for d in state.devices)
    return Level.SOFTWARE if by_port else Level.HARDWARE
