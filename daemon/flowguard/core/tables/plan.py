# SPDX-License-Identifier: GPL-2.0-or-later
"""A level per device -> the nftables tables that should exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowguard.core.arms.draw import Draw
from flowguard.core.model import Device, Family, Level, Protocol
from flowguard.core.records import frozen
from flowguard.core.tables.description import (
    HARDWARE_PRIORITY,
    HARDWARE_TABLE,
    SOFTWARE_PRIORITY,
    SOFTWARE_TABLE,
    AddressIn,
    BucketBelow,
    DevicesOutside,
    DscpIs,
    FamilyIs,
    InterfaceIs,
    Leave,
    MarkIs,
    Match,
    Network,
    Offload,
    PacketsAtLeast,
    Plan,
    PortIn,
    ProtocolIs,
    Rule,
    Side,
    Table,
)


@frozen
class Exclusion:
    """Flows that may rise no higher than `level`; unset fields match everything."""

    level: Level = Level.NONE
    device: str | None = None
    family: Family | None = None
    protocol: Protocol | None = None
    source: Network | None = None
    destination: Network | None = None
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None
    mark: tuple[int, int] | None = None
    dscp: int | None = None


@frozen
class OffloadSettings:
    """What the configuration says about the rules.

    `control_share` = N puts one in N flows on the level below (0: none). A flow is offloaded
    once it has had `min_packets` packets (0: at once). Without `software` there is no table
    for what is not in hardware.
    """

    udp: bool = True
    ipv6: bool = True
    control_share: int = 16
    min_packets: int = 0
    exclusions: tuple[Exclusion, ...] = ()
    software: bool = True


CONFIGURED_DRAW = Draw()


def plan(
    devices: Sequence[Device],
    levels: Mapping[str, Level],
    settings: OffloadSettings,
    draw: Draw = CONFIGURED_DRAW,
) -> Plan:
    """The tables for devices at their levels; a device without a level is left out."""
    drawing = _draw_rules(settings, draw)
    hardware = _at_least(devices, levels, Level.HARDWARE)
    software = _at_least(devices, levels, Level.SOFTWARE) if settings.software else []
    return Plan(
        hardware=_table(Level.HARDWARE, hardware, settings, drawing) if hardware else None,
        # The arm is drawn at the top of the ladder; below it every flow is welcome.
        software=_table(Level.SOFTWARE, software, settings, () if hardware else drawing)
        if software
        else None,
    )


def _at_least(devices: Sequence[Device], levels: Mapping[str, Level], level: Level) -> list[Device]:
    return [d for d in devices if levels.get(d.name, Level.NONE).rank >= level.rank]


def _draw_rules(settings: OffloadSettings, draw: Draw) -> tuple[Rule, ...]:
    """What keeps the control arm from the level; a rule for each family's addresses."""
    limit = draw.control_below(settings.control_share)
    families = Family if limit else ()
    return tuple(Rule((BucketBelow(family, draw.seed, limit),), Leave()) for family in families)


def _table(
    level: Level,
    devices: Sequence[Device],
    settings: OffloadSettings,
    drawing: tuple[Rule, ...],
) -> Table:
    hardware = level is Level.HARDWARE
    names = {name for d in devices for name in (d.name, *d.forward_names)}
    return Table(
        name=HARDWARE_TABLE if hardware else SOFTWARE_TABLE,
        priority=HARDWARE_PRIORITY if hardware else SOFTWARE_PRIORITY,
        hardware=hardware,
        devices=tuple(sorted(d.name for d in devices)),
        forward_names=tuple(sorted(names)),
        rules=_rules(level, settings, drawing),
    )


def _rules(level: Level, settings: OffloadSettings, drawing: tuple[Rule, ...]) -> tuple[Rule, ...]:
    rules = [Rule((DevicesOutside(side),), Leave()) for side in Side]
    if not settings.ipv6:
        rules.append(Rule((FamilyIs(Family.IPV6),), Leave()))
    for exclusion in settings.exclusions:
        if exclusion.level.rank < level.rank:
            rules += (Rule(matches, Leave()) for matches in _exclusion_matches(exclusion))
    rules += drawing
    ready = [PacketsAtLeast(settings.min_packets)] if settings.min_packets else []
    protocols = [Protocol.TCP, Protocol.UDP] if settings.udp else [Protocol.TCP]
    rules += (Rule((ProtocolIs(p), *ready), Offload()) for p in protocols)
    return tuple(rules)


def _exclusion_matches(exclusion: Exclusion) -> list[tuple[Match, ...]]:
    """The rules' matches; several, because a device can be on either side of a flow."""
    common: list[Match] = []
    if exclusion.family:
        common.append(FamilyIs(exclusion.family))
    if exclusion.protocol:
        common.append(ProtocolIs(exclusion.protocol))
    if exclusion.source:
        common.append(AddressIn(Side.SOURCE, exclusion.source))
    if exclusion.destination:
        common.append(AddressIn(Side.DESTINATION, exclusion.destination))
    if exclusion.source_ports:
        common.append(PortIn(Side.SOURCE, *exclusion.source_ports))
    if exclusion.destination_ports:
        common.append(PortIn(Side.DESTINATION, *exclusion.destination_ports))
    if exclusion.mark:
        value, mask = exclusion.mark
        common.append(MarkIs(mask, value))
    variants = [common]
    if exclusion.dscp is not None:
        variants = [[*v, DscpIs(f, exclusion.dscp)] for v in variants for f in Family]
    if exclusion.device:
        variants = [[InterfaceIs(s, exclusion.device), *v] for v in variants for s in Side]
    return [tuple(v) for v in variants]
