# SPDX-License-Identifier: GPL-2.0-or-later
"""Network devices: kinds, drivers, firmware, and what is below what."""

from __future__ import annotations

from typing import Any

from flowguard.core.model import Device
from flowguard.core.tables.topology import Link, paths_of, resolve
from flowguard.kernel.machine import Machine, Network
from flowguard.report.document import Section, fenced

COUNTERS = "/proc/net/dev"
MOST = 64
"""Devices; whoever has more of them has tunnels by the hundred."""


async def topology_section(
    machine: Machine, links: tuple[Link, ...], status: dict[str, Any] | None
) -> Section:
    """`status` tells what flowguard takes part with; without it, what it would."""
    devices = (await machine.network.scan([link.name for link in links[:MOST]], {})).devices
    by_name = {device.name: device for device in devices}
    lines = [await _told(machine.network, link, by_name.get(link.name)) for link in links[:MOST]]
    lines += [f"[{len(links) - MOST} more devices]"] if len(links) > MOST else []
    return Section("Network devices", (*fenced(lines), "", *await _part(machine, links, status)))


async def _told(network: Network, link: Link, device: Device | None) -> str:
    told = [f"{link.name}: {link.kind}{'' if link.up else ', down'}"]
    if link.lower:
        told.append(f"above {', '.join(link.lower)}")
    if device and device.forward_names[1:]:
        told.append(f"below {', '.join(device.forward_names[1:])}")
    if device and device.driver:
        told.append(f"driver {device.driver} ({device.bus_name or 'no bus'})")
        told.append(await _code(network, link.name))
    return "; ".join(filter(None, told))


async def _code(network: Network, name: str) -> str:
    """Versions of driver and firmware (ethtool -i)."""
    try:
        return await network.code_of(name)
    except OSError as error:
        return f"versions not known: {error.strerror or error}"


async def _part(
    machine: Machine, links: tuple[Link, ...], status: dict[str, Any] | None
) -> list[str]:
    if status is None:
        try:
            interfaces = await machine.network.forwarding_interfaces()
        except OSError as error:
            return [f"What would take part is not known: {error.strerror or error}"]
        found = resolve(links, interfaces, paths_of(machine.release))
        taking_part, left_out = [*found.devices, *found.software_only], [*found.left_out]
        reasons = [(left.name, left.reason) for left in left_out]
    else:
        taking_part = [device["name"] for device in status.get("devices", [])]
        reasons = [(left["name"], left["reason"]) for left in status.get("left_out", [])]
        reasons += [(name, "configured, and missing") for name in status.get("missing_devices", [])]
    lines = [f"- taking part: {', '.join(taking_part) or 'none'}"]
    return lines + [f"- left out: {name}: {reason}" for name, reason in reasons]


def counters_section(machine: Machine) -> Section:
    """What the kernel has counted on each device, errors and drops among it."""
    try:
        lines = machine.files.read(COUNTERS).splitlines()
    except (OSError, ValueError) as error:
        return Section("Counters", (f"{COUNTERS}: {error}",), optional=True)
    return Section("Counters", tuple(fenced(lines[: MOST + 2])), optional=True)
