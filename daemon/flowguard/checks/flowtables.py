# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the kernel takes the devices, and the very tables that the service would make."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from flowguard.checks.finding import Finding, Grade
from flowguard.core.model import Device
from flowguard.core.tables.plan import plan
from flowguard.kernel.machine import Machine, Sysctls, Tables
from flowguard.kernel.nftables.changes import CreateTable, NftablesError
from flowguard.platform.configuration.options import Configuration
from flowguard.sensors.capability import UNKNOWN, Capability, probe
from flowguard.sensors.devices import AskInterfaces, Found, Routed, find, routed
from flowguard.sensors.flow_counts import counters_problem


def check_min_packets(sysctls: Sysctls, min_packets: int) -> Iterator[Finding]:
    """Flows without counters never reach a minimum of packets."""
    if problem := counters_problem(sysctls, min_packets):
        remedy = "sysctl net.netfilter.nf_conntrack_acct=1, or remove option min_packets"
        yield Finding(Grade.ERROR, "min-packets", problem, remedy)


async def check_tables(
    machine: Machine,
    configured: Configuration,
    interfaces: AskInterfaces,
    known: Sequence[Device] | None,
) -> AsyncIterator[Finding]:
    """Devices one by one, then the very tables that the service would make."""
    routes = await routed(machine.network, interfaces) or Routed()
    found = await find(machine, configured.device, routes)
    for name in found.missing:
        remedy = "correct list device, or wait until it appears"
        yield Finding(Grade.WARNING, "device", f"device {name} does not exist", remedy)
    for left in found.left_out:
        yield Finding(Grade.FINE, "left-out", f"{left.name} is left out: {left.reason}")
    if not found.devices:
        remedy = "name devices with list device"
        yield Finding(Grade.ERROR, "device", "no device can take part", remedy)
        return
    if nothing := nothing_can_be_offloaded(found, routes.names):
        yield Finding(Grade.WARNING, "no-path", nothing, "none: flowguard is of no use here")
    for device in found.devices:
        if device.hardware_capable is False:
            # Its kind says so; there is nothing to try.
            sentence = f"{device.name}: software only: {device.reason}"
            yield Finding(Grade.FINE, "device", sentence)
        else:
            yield _device(device.name, await _capability(machine, device.name, known))
    yield await _check_plan(machine.tables, found.devices, configured)
    for foreign in await machine.tables.foreign_flowtables():
        sentence = f"{foreign}: it takes flows first, and hardware cannot be drained of them"
        remedy = "switch the other program's flow offloading off"
        yield Finding(Grade.ERROR, "other-flowtable", sentence, remedy)


def nothing_can_be_offloaded(found: Found, interfaces: Sequence[str]) -> str:
    """Why, in one sentence, or "": a flow needs two interfaces with devices that take part."""
    taking_part = {name for d in found.devices for name in (d.name, *d.forward_names)}
    able = [name for name in interfaces if name in taking_part]
    unable = [name for name in interfaces if name not in taking_part]
    if len(able) > 1 or not unable:
        return ""
    reasons = {left.name: left.reason for left in found.left_out}
    others = "; ".join(f"{name}: {reasons.get(name, 'left out')}" for name in unable)
    return f"no flow can be offloaded: only {able[0] if able else 'none'} can take part ({others})"


async def _capability(machine: Machine, name: str, known: Sequence[Device] | None) -> Capability:
    if known is None:
        return await probe(machine, name)
    device = next((d for d in known if d.name == name), None)
    return Capability(device.hardware_capable, device.reason) if device else UNKNOWN


def _device(name: str, found: Capability) -> Finding:
    if found == UNKNOWN:
        sentence = f"{name} has not been tried: its driver is bound only when hardware is used"
        return Finding(Grade.FINE, "device", sentence)
    if found.capable is False:
        sentence = f"{name}: software only: {found.reason}"
        return Finding(Grade.WARNING, "device", sentence, "none: the device has no engine")
    if found.capable is None:
        return Finding(Grade.ERROR, "device", f"{name}: {found.reason}", "install kmod-nft-offload")
    sentence = f"{name} accepts hardware offload; proof comes with traffic"
    return Finding(Grade.FINE, "device", sentence)


async def _check_plan(
    tables: Tables, devices: tuple[Device, ...], configured: Configuration
) -> Finding:
    levels = {device.name: configured.level.below for device in devices}
    table = plan(devices, levels, configured.offload_settings).software
    if table is None or (await tables.read()).software:
        return Finding(Grade.FINE, "tables", "the flowtables are in place")
    try:
        await tables.dry_run([CreateTable(table)])
    except NftablesError as error:
        remedy = "install kmod-nft-offload (OpenWrt) or load nft_flow_offload and nft_hash"
        return Finding(Grade.ERROR, "tables", f"the kernel refuses the flowtables: {error}", remedy)
    return Finding(Grade.FINE, "tables", "the kernel accepts the flowtables")
