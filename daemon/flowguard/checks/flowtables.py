# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the kernel takes the devices, and the very tables that the service would make."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from flowguard.checks.finding import Finding, Grade
from flowguard.core.model import Device
from flowguard.core.tables.description import Plan, Table
from flowguard.core.tables.plan import plan
from flowguard.kernel.nftables import ruleset
from flowguard.kernel.nftables.probe import UNKNOWN, Capability, probe
from flowguard.kernel.nftables.transactions import Nftables, NftablesError
from flowguard.kernel.sysctls import min_packets_problem
from flowguard.platform.configuration.loading import Configuration
from flowguard.sensors.devices import Routed, find, routed


def check_min_packets(
    configured: Configuration, proc: str = "/proc/sys/net/netfilter"
) -> Iterator[Finding]:
    """Flows without counters never reach a minimum of packets."""
    if problem := min_packets_problem(configured.min_packets, proc):
        remedy = "sysctl net.netfilter.nf_conntrack_acct=1, or remove option min_packets"
        yield Finding(Grade.ERROR, "min-packets", problem, remedy)


async def check_tables(
    configured: Configuration, ubus: str | None, known: Sequence[Device] | None
) -> AsyncIterator[Finding]:
    """Devices one by one, then the very tables that the service would make."""
    for finding in check_min_packets(configured):
        yield finding
    found = find(configured.device, await routed(ubus) or Routed())
    for name in found.missing:
        remedy = "correct list device, or wait until it appears"
        yield Finding(Grade.WARNING, "device", f"device {name} does not exist", remedy)
    for left in found.left_out:
        yield Finding(Grade.FINE, "left-out", f"{left.name} is left out: {left.reason}")
    if not found.devices:
        remedy = "name devices with list device"
        yield Finding(Grade.ERROR, "device", "no device can take part", remedy)
        return
    nftables = Nftables()
    try:
        for device in found.devices:
            yield _device(device.name, await _capability(nftables, device.name, known))
        yield await _check_plan(nftables, found.devices, configured)
        for foreign in ruleset.foreign_flowtables(nftables):
            sentence = f"{foreign}: it takes flows first, and hardware cannot be drained of them"
            remedy = "switch the other program's flow offloading off"
            yield Finding(Grade.ERROR, "other-flowtable", sentence, remedy)
    finally:
        nftables.close()


async def _capability(nftables: Nftables, name: str, known: Sequence[Device] | None) -> Capability:
    if known is None:
        return await probe(nftables, name)
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
    nftables: Nftables, devices: tuple[Device, ...], configured: Configuration
) -> Finding:
    levels = {device.name: configured.level.below for device in devices}
    target: Plan = plan(devices, levels, configured.offload_settings)
    existing = ruleset.read(nftables)
    table: Table | None = target.software
    if table is None or existing.software:
        return Finding(Grade.FINE, "tables", "the flowtables are in place")
    try:
        await nftables.dry_run(ruleset.create(table))
    except NftablesError as error:
        remedy = "install kmod-nft-offload (OpenWrt) or load nft_flow_offload and nft_numgen"
        return Finding(Grade.ERROR, "tables", f"the kernel refuses the flowtables: {error}", remedy)
    return Finding(Grade.FINE, "tables", "the kernel accepts the flowtables")
