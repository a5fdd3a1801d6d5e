# SPDX-License-Identifier: GPL-2.0-or-later
"""A level per device -> the nftables tables that should exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowguard.core.arms.draw import Draw
from flowguard.core.model import Device, Family, Host, Level, Protocol
from flowguard.core.records import frozen, replace
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
    HostOutside,
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
from flowguard.core.tables.places import Places, hardware_places, software_places
from flowguard.core.tables.why import Why


@frozen
class Exclusion:
    """Flows that may rise no higher than `level`; unset fields match everything.

    `section` is what people call the section of the configuration that says so.
    """

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
    section: str = ""


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
    hosts: Sequence[Host] = (),
) -> Plan:
    """The tables for devices at their levels; a device without a level is left out.

    `hosts` are those that are known to be behind ports of bridges.
    """
    drawing = _draw_rules(settings, draw)
    hardware = software = None
    if places := hardware_places(devices, levels, hosts, _excluded_devices(settings)):
        hardware = _table(Level.HARDWARE, settings, drawing, places)
        # The arm is drawn at the top of the ladder; below it every flow is welcome.
        drawing = ()
    if settings.software and (places := software_places(devices, levels)):
        software = _table(Level.SOFTWARE, settings, drawing, places)
    return Plan(hardware, software)


def _table(
    level: Level, settings: OffloadSettings, drawing: tuple[Rule, ...], places: Places
) -> Table:
    hardware = level is Level.HARDWARE
    return Table(
        name=HARDWARE_TABLE if hardware else SOFTWARE_TABLE,
        priority=HARDWARE_PRIORITY if hardware else SOFTWARE_PRIORITY,
        hardware=hardware,
        devices=places.devices,
        forward_names=places.names,
        rules=_rules(level, settings, drawing, places),
        hosts=places.hosts,
    )


def _excluded_devices(settings: OffloadSettings) -> set[str]:
    """Those of which no flow may be in hardware, whatever else it is.

    The forward hook never names a port of a bridge, so that no rule could keep its flows out.
    """
    return {
        exclusion.device
        for exclusion in settings.exclusions
        if exclusion.device
        and replace(exclusion, section="") == Exclusion(exclusion.level, exclusion.device)
    }


def _draw_rules(settings: OffloadSettings, draw: Draw) -> tuple[Rule, ...]:
    """What keeps the control arm from the level; a rule for each family's addresses."""
    limit = draw.control_below(settings.control_share)
    families = Family if limit else ()
    leave = Leave(Why.CONTROL_ARM)
    return tuple(Rule((BucketBelow(family, draw.seed, limit),), leave) for family in families)


def _rules(
    level: Level,
    settings: OffloadSettings,
    drawing: tuple[Rule, ...],
    places: Places,
) -> tuple[Rule, ...]:
    rules = [Rule((DevicesOutside(side),), Leave(Why.OUTSIDE)) for side in Side]
    if not settings.ipv6:
        rules.append(Rule((FamilyIs(Family.IPV6),), Leave(Why.SWITCHED_OFF)))
    rules += (
        Rule((InterfaceIs(side, name), HostOutside(side, family)), Leave(Why.NOT_BEHIND_PORT))
        for name in places.mixed
        for side in Side
        for family in Family
    )
    for exclusion in settings.exclusions:
        if exclusion.level.rank < level.rank:
            leave = Leave(Why.EXCLUDED, exclusion.section)
            rules += (Rule(matches, leave) for matches in _exclusion_matches(exclusion))
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
