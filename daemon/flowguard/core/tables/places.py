# SPDX-License-Identifier: GPL-2.0-or-later
"""A level per device -> where each table takes flows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flowguard.core.model import Device, Host, Level
from flowguard.core.records import frozen


def at_least(devices: Sequence[Device], levels: Mapping[str, Level], level: Level) -> list[Device]:
    """The devices that stand on this level or a higher one."""
    return [d for d in devices if levels.get(d.name, Level.NONE).rank >= level.rank]


def ports_of(devices: Sequence[Device]) -> set[str]:
    """The ports of bridges that are these devices, or VLANs on them."""
    return {port for d in devices for port in d.bridge_ports}


@frozen
class Places:
    """Where a table takes flows.

    `devices` are hooked; `names` are what the forward hook calls them and what is above them.
    Of a flow through one of the `mixed` names only a host in `hosts` is behind a device.
    """

    devices: tuple[str, ...]
    names: tuple[str, ...]
    mixed: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def hardware_places(
    devices: Sequence[Device],
    levels: Mapping[str, Level],
    hosts: Sequence[Host],
    excluded: Collection[str] = (),
) -> Places | None:
    """The ports themselves; None where there are none.

    A bridge may have ports that are not among them: an access point, a port that was held off
    or is `excluded`. The driver would accept the direction out of such a host and never see a
    packet of it.
    """
    taking = at_least(devices, levels, Level.HARDWARE)
    ports = ports_of(taking).difference(excluded)
    mixed = {
        name
        for d in taking
        if not ports.issuperset({*d.beside, *d.bridge_ports})
        for name in d.bridges
    }
    if not taking:
        return None
    return Places(
        devices=tuple(sorted(d.name for d in taking)),
        names=tuple(sorted({name for d in taking for name in (d.name, *d.forward_names)})),
        mixed=tuple(sorted(mixed)),
        hosts=tuple(sorted({h.address for h in hosts if h.port in ports})) if mixed else (),
    )


def software_places(devices: Sequence[Device], levels: Mapping[str, Level]) -> Places | None:
    """Bridges themselves, so that a host may move behind them; other devices at the bottom.

    None where there is nothing at all.

    A bridge does not tell its ports apart: it stands as low as the lowest of them.
    """
    taking = at_least(devices, levels, Level.SOFTWARE)
    shut = {name for d in devices if d not in taking and not d.by_port for name in d.bridges}
    hooked = {name for d in taking for name in _software_hooks(d)} - shut
    above = {name for d in taking if d.by_port or not d.bridges for name in d.forward_names}
    return Places(tuple(sorted(hooked)), tuple(sorted(hooked | above))) if hooked else None


def _software_hooks(device: Device) -> set[str]:
    """What stands for the device in the software table.

    With a port of a bridge itself in a flowtable the kernel would send past the bridge, to
    where a host was when its flow began.
    """
    if device.by_port or not device.bridges:
        return {device.name}
    return {*device.forward_names} - {device.name, *device.bridge_ports}


def levels_by_device(
    devices: Sequence[Device], held: Sequence[tuple[str, Level]]
) -> tuple[tuple[str, Level], ...]:
    """The levels that devices have by those of what is hooked: of a port by its bridges, too.

    What is none of these devices keeps its own name.
    """
    levels = dict(held)
    named = {d.name for d in devices}
    through = {name for d in devices for name in _software_hooks(d)} - named
    found = {name: level for name, level in levels.items() if name not in through}
    for device in devices:
        hooks = [levels.get(n, Level.NONE) for n in _software_hooks(device)]
        lowest = min(hooks, key=lambda level: level.rank, default=Level.NONE)
        level = max(levels.get(device.name, Level.NONE), lowest, key=lambda level: level.rank)
        if level is not Level.NONE:
            found[device.name] = level
    return tuple(sorted(found.items()))
