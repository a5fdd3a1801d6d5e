# SPDX-License-Identifier: GPL-2.0-or-later
"""Which reason keeps a connection from the level that is wanted, in one word and one sentence.

The rules of the tables tell most of it: they are what the kernel has. The rest is known of the
devices, and what nft_flow_offload_eval (net/netfilter/nft_flow_offload.c) refuses by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from flowguard.core.model import Device, Level, Protocol
from flowguard.core.records import frozen
from flowguard.core.state import State, allowed
from flowguard.core.tables.description import (
    InterfaceIs,
    Leave,
    Offload,
    PacketsAtLeast,
    Plan,
    ProtocolIs,
    Rule,
    Table,
)
from flowguard.core.tables.matching import Connection, TableRules
from flowguard.core.tables.topology import SOFTWARE_ONLY, Kind
from flowguard.core.tables.why import Why

ROUTER = "lo"
"""The device towards the router's own addresses."""
SENTENCES = {
    Why.OTHER_PROTOCOL: "only TCP and UDP are offloaded",
    Why.NOT_FORWARDED: "it is not forwarded",
    Why.SWITCHED_OFF: "switched off in the configuration",
    Why.EXCLUDED: "excluded",
    Why.CONTROL_ARM: "in the control arm, for comparison",
    Why.NOT_BEHIND_PORT: "not behind a port that is in hardware",
    Why.TUNNEL: "through a tunnel",
    Why.OUTSIDE: "through a device that takes no part",
    Why.NO_ENGINE: "through a device without hardware offload",
    Why.HELD_OFF: "through a device that is held off",
    Why.NOT_NOW: "its device may not at present",
    Why.HELPER: "a helper reads or rewrites its packets",
    Why.NOT_COUNTED: "its packets are not counted, so it never has enough",
    Why.TOO_FEW_PACKETS: "too few packets yet",
    Why.CLOSING: "it is closing",
    Why.REFUSED: "the driver has not taken it",
    Why.IDLE: "it is idle, or the kernel leaves it out (IPsec, IP options)",
}
_BY_KIND = {
    SOFTWARE_ONLY[Kind.TUNNEL]: Why.TUNNEL,
    SOFTWARE_ONLY[Kind.BRIDGE]: Why.NOT_BEHIND_PORT,
    SOFTWARE_ONLY[Kind.VLAN]: Why.NOT_BEHIND_PORT,
    SOFTWARE_ONLY[Kind.WIFI]: Why.NOT_BEHIND_PORT,
}


class Stage(StrEnum):
    """How far a connection is; only TCP shows it."""

    STARTING = "starting"
    GOING_ON = "going_on"
    CLOSING = "closing"


@frozen
class Seen:
    """A connection as connection tracking shows it.

    `path` is where its packets are handled. `packets` are those of both directions, None where
    they are not counted. `helped`: a helper or a rewriting of sequence numbers is at work.
    """

    connection: Connection
    path: Level
    packets: int | None = None
    stage: Stage = Stage.GOING_ON
    helped: bool = False


@frozen
class Reason:
    """`device` is the one that it is about; `until` is when that ends, if it is known."""

    why: Why
    detail: str = ""
    device: str | None = None
    until: float | None = None

    def __str__(self) -> str:
        sentence = SENTENCES[self.why]
        return f"{sentence}: {self.detail}" if self.detail else sentence


def reason(seen: Seen, plan: Plan, state: State, left_out: Mapping[str, str]) -> Reason | None:
    """What keeps it from the next level up; None when it is on the one that is wanted.

    `plan` are the tables that the kernel holds, `left_out` says of devices why they take no part.
    """
    if seen.path.rank >= state.wanted.rank:
        return None
    return next(_Search(seen, plan, state, left_out).found())


class _Search:
    """Reasons in the order in which they count; the last one is always there."""

    def __init__(self, seen: Seen, plan: Plan, state: State, left_out: Mapping[str, str]) -> None:
        self._seen = seen
        self._connection = seen.connection
        self._state = state
        self._left_out = left_out
        in_software = seen.path is Level.SOFTWARE
        self._table = plan.hardware if in_software else plan.software or plan.hardware
        is_hardware = self._table.hardware if self._table else bool(state.software_drops)
        self._level = Level.HARDWARE if in_software or is_hardware else Level.SOFTWARE

    def found(self) -> Iterator[Reason]:
        if self._connection.original.protocol not in {*Protocol}:
            yield Reason(Why.OTHER_PROTOCOL)
        yield from self._not_forwarded()
        table = self._table
        if not table or not table.rules:
            yield from self._of_devices(())
            yield Reason(Why.NOT_NOW, "the tables are being changed")
            return
        if leaving := TableRules(table).leaving(self._connection):
            yield from self._left_by(table, leaving)
        yield from self._of_packets(table)
        yield Reason(Why.REFUSED if self._seen.path is Level.SOFTWARE else Why.IDLE)

    def _not_forwarded(self) -> Iterator[Reason]:
        if ROUTER in self._connection.ends:
            yield Reason(Why.NOT_FORWARDED, "the router itself is at one end")
        if self._connection.mark:
            return  # Its mark may lead it elsewhere.
        for address, device in self._ends():
            if device is None:
                yield Reason(Why.NOT_FORWARDED, f"there is no route to {address}")

    def _left_by(self, table: Table, rule: Rule) -> Iterator[Reason]:
        if not isinstance(rule.action, Leave):
            return
        if rule.action.why is Why.OUTSIDE:
            yield from self._of_devices(table.forward_names)
        if rule.action.why is Why.NOT_BEHIND_PORT:
            names = [m.name for m in rule.matches if isinstance(m, InterfaceIs)]
            yield from self._of_host(table, names)
        yield Reason(rule.action.why, rule.action.section)

    def _of_packets(self, table: Table) -> Iterator[Reason]:
        """What keeps back a connection that the rules do not leave alone."""
        taking = [
            rule
            for rule in table.rules
            if isinstance(rule.action, Offload)
            and ProtocolIs(Protocol(self._connection.original.protocol)) in rule.matches
        ]
        if not taking:
            yield Reason(Why.SWITCHED_OFF, self._connection.original.protocol)
        if self._seen.helped:
            yield Reason(Why.HELPER)
        for match in (m for rule in taking for m in rule.matches):
            if not isinstance(match, PacketsAtLeast) or self._seen.path is Level.SOFTWARE:
                continue
            if self._seen.packets is None:
                yield Reason(Why.NOT_COUNTED)
            elif self._seen.packets < match.count:
                yield Reason(Why.TOO_FEW_PACKETS, f"{self._seen.packets} of {match.count}")
        if self._seen.stage is Stage.STARTING:
            yield Reason(Why.TOO_FEW_PACKETS, "it is only beginning")
        if self._seen.stage is Stage.CLOSING:
            yield Reason(Why.CLOSING)

    def _of_devices(self, names: tuple[str, ...]) -> Iterator[Reason]:
        """Of the devices at both ends, but for these `names`."""
        for address, name in self._ends():
            if name is None or name in names:
                continue
            devices = [d for d in self._state.devices if name in (d.name, *d.forward_names)]
            if not devices:
                yield Reason(Why.OUTSIDE, self._left_out.get(name, name), name)
                continue
            if self._level is Level.HARDWARE:
                port = self._port_of(address)
                devices = [d for d in devices if port in d.bridge_ports] or devices
            yield self._of_device(min(devices, key=lambda d: allowed(self._state, d)[0].rank))

    def _of_host(self, table: Table, names: list[str]) -> Iterator[Reason]:
        """Of the host behind a mixed bridge of one of these names."""
        for address, name in self._ends():
            if name not in names or address in table.hosts:
                continue
            port = self._port_of(address)
            if port is None:
                detail = f"behind which port of {name} {address} is, is not known"
                yield Reason(Why.NOT_BEHIND_PORT, detail)
                continue
            for rule in table.rules:
                if isinstance(rule.action, Leave) and _is_about_port(rule, port):
                    yield Reason(rule.action.why, rule.action.section, port)
            device = next((d for d in self._state.devices if port in d.bridge_ports), None)
            if address in self._state.restless:
                detail = f"{address} has changed its port too often in the last minutes"
                yield Reason(Why.NOT_BEHIND_PORT, detail, port)
            if device:
                yield self._of_device(device)
            yield Reason(Why.NOT_BEHIND_PORT, f"{address} is behind {port}", port)

    def _of_device(self, device: Device) -> Reason:
        """Why it is below the level."""
        name, state = device.name, self._state
        verdict = state.verdict_on(name)
        if verdict and state.holds(verdict) and verdict.highest.rank < self._level.rank:
            until = None if verdict.until_reboot else verdict.held_until
            return Reason(Why.HELD_OFF, f"{name}: {verdict.reason}", name, until)
        if device.hardware_capable is False and self._level is Level.HARDWARE:
            why = _BY_KIND.get(device.reason, Why.NO_ENGINE)
            return Reason(why, f"{name}: {device.reason}", name)
        limit, words = allowed(state, device)
        if limit.rank >= self._level.rank:
            words = "on the way there"
        return Reason(Why.NOT_NOW, f"{name}: {words}", name)

    def _ends(self) -> Iterator[tuple[str, str | None]]:
        connection = self._connection
        addresses = connection.original.source, connection.reply.source
        yield from zip(addresses, connection.ends, strict=True)

    def _port_of(self, address: str) -> str | None:
        return next((h.port for h in self._state.hosts if h.address == address), None)


def _is_about_port(rule: Rule, port: str) -> bool:
    """Whether the rule excludes the whole port, whatever the flow is."""
    (first, *others) = rule.matches
    return isinstance(first, InterfaceIs) and first.name == port and not others
