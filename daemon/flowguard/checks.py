# SPDX-License-Identifier: GPL-2.0-or-later
"""What `flowguard check` looks at: each finding has a code, a sentence and a remedy."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum

from flowguard.core.model import Device
from flowguard.core.plan import plan
from flowguard.core.tables import (
    Plan,
    Table,
)
from flowguard.host import configuration, uci
from flowguard.offload import tables
from flowguard.offload.nfnetlink import Nftables, NftablesError
from flowguard.offload.probe import probe
from flowguard.offload.sysctls import min_packets_problem
from flowguard.sensors.links import scan

FIREWALL = "/etc/config/firewall"
ACCOUNTING = "/proc/sys/net/netfilter/nf_conntrack_acct"
FORWARDING = "/proc/sys/net/ipv4/ip_forward"
TRUE_WORDS = ("1", "on", "true", "yes", "enabled")


class Grade(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    grade: Grade
    code: str
    sentence: str
    remedy: str = ""


async def findings(path: str) -> list[Finding]:
    """Everything that is looked at, for the configuration in a file."""
    loaded = configuration.load(path)
    found = [
        *check_configuration(loaded, path),
        *check_sysctls(),
        *check_firewall(),
        *check_evidence(),
    ]
    try:
        found += [f async for f in check_kernel(loaded.configuration)]
    except OSError as error:
        sentence = f"the kernel's flowtables cannot be examined: {error.strerror or error}"
        found.append(Finding(Grade.ERROR, "tables", sentence, "run as root"))
    return found


def check_configuration(loaded: configuration.Loaded, path: str) -> Iterator[Finding]:
    grade = Grade.WARNING if loaded.readable else Grade.ERROR
    for problem in loaded.problems:
        yield Finding(grade, "configuration", str(problem), f"correct {path}")
    if not loaded.problems:
        yield Finding(Grade.FINE, "configuration", f"{path} is understood")
    if loaded.readable and not loaded.configuration.enabled:
        remedy = f"set option enabled '1' in {path}"
        yield Finding(Grade.WARNING, "disabled", "the service is not enabled", remedy)


def check_sysctls(accounting: str = ACCOUNTING, forwarding: str = FORWARDING) -> Iterator[Finding]:
    yield from _check_sysctl(
        accounting,
        "accounting",
        "conntrack counts no bytes, so stalled flows cannot be told from idle ones",
        "sysctl net.netfilter.nf_conntrack_acct=1",
    )
    yield from _check_sysctl(
        forwarding, "forwarding", "this machine does not forward", "sysctl net.ipv4.ip_forward=1"
    )


def _check_sysctl(path: str, code: str, sentence: str, remedy: str) -> Iterator[Finding]:
    try:
        with open(path, encoding="ascii") as file:
            value = file.read().strip()
    except OSError as error:
        yield Finding(Grade.WARNING, code, f"{path}: {error.strerror}", "load nf_conntrack")
        return
    if value == "0":
        yield Finding(Grade.WARNING, code, sentence, remedy)
    else:
        yield Finding(Grade.FINE, code, f"{os.path.basename(path)} is {value}")


def check_firewall(path: str = FIREWALL) -> Iterator[Finding]:
    """fw4's own flow offloading competes for the same flows."""
    try:
        package = uci.load(path)
    except FileNotFoundError:
        return
    except (OSError, uci.UciError) as error:
        yield Finding(Grade.WARNING, "firewall", f"{path}: {error}", f"correct {path}")
        return
    on = [
        option.name
        for section in package.sections
        if section.type == "defaults"
        for option in section.options
        if option.name in ("flow_offloading", "flow_offloading_hw")
        and option.values[-1].text in TRUE_WORDS
    ]
    if on:
        sentence = f"the firewall's own {' and '.join(on)} is on: it takes the flows first"
        remedy = "turn Routing/NAT Offloading off in the firewall's settings"
        yield Finding(Grade.ERROR, "fw4-offload", sentence, remedy)
    else:
        yield Finding(Grade.FINE, "fw4-offload", "the firewall leaves offloading to flowguard")


def check_evidence() -> Iterator[Finding]:
    """Optional sources of evidence; without them flowguard sees less."""
    for code, path, sentence, remedy in (
        ("kmsg", "/dev/kmsg", "driver faults cannot be seen", "run as root"),
        (
            "engine",
            "/sys/kernel/debug",
            "the engine's own table cannot be read",
            "mount -t debugfs debugfs /sys/kernel/debug",
        ),
    ):
        if os.access(path, os.R_OK) and (not os.path.isdir(path) or os.listdir(path)):
            yield Finding(Grade.FINE, code, f"{path} is readable")
        else:
            yield Finding(Grade.WARNING, code, f"{path} is not readable: {sentence}", remedy)


def check_min_packets(
    configured: configuration.Configuration, proc: str = "/proc/sys/net/netfilter"
) -> Iterator[Finding]:
    """Flows without counters never reach a minimum of packets."""
    if problem := min_packets_problem(configured.min_packets, proc):
        remedy = "sysctl net.netfilter.nf_conntrack_acct=1, or remove option min_packets"
        yield Finding(Grade.ERROR, "min-packets", problem, remedy)


async def check_kernel(configured: configuration.Configuration) -> AsyncIterator[Finding]:
    """Devices one by one, then the very tables that the service would make."""
    for finding in check_min_packets(configured):
        yield finding
    links = scan(configured.device)
    for name in links.missing:
        remedy = "correct list device, or wait until it appears"
        yield Finding(Grade.WARNING, "device", f"device {name} does not exist", remedy)
    if not links.devices:
        remedy = "name devices with list device"
        yield Finding(Grade.ERROR, "device", "no device can take part", remedy)
        return
    nftables = Nftables()
    try:
        for device in links.devices:
            yield await _check_device(nftables, device)
        yield await _check_tables(nftables, links.devices, configured)
        for foreign in tables.foreign_flowtables(nftables):
            sentence = f"{foreign}: it takes flows first, and hardware cannot be drained of them"
            remedy = "switch the other program's flow offloading off"
            yield Finding(Grade.ERROR, "other-flowtable", sentence, remedy)
    finally:
        nftables.close()


async def _check_device(nftables: Nftables, device: Device) -> Finding:
    found = await probe(nftables, device.name)
    if found.capable is False:
        sentence = f"{device.name}: software only: {found.reason}"
        return Finding(Grade.WARNING, "device", sentence, "none: the device has no engine")
    if found.capable is None:
        remedy = "install kmod-nft-offload"
        return Finding(Grade.ERROR, "device", f"{device.name}: {found.reason}", remedy)
    sentence = f"{device.name} accepts hardware offload; proof comes with traffic"
    return Finding(Grade.FINE, "device", sentence)


async def _check_tables(
    nftables: Nftables, devices: tuple[Device, ...], configured: configuration.Configuration
) -> Finding:
    levels = {device.name: configured.level.below for device in devices}
    target: Plan = plan(devices, levels, configured.offload_settings)
    existing = tables.read(nftables)
    table: Table | None = target.software
    if table is None or existing.software:
        return Finding(Grade.FINE, "tables", "the flowtables are in place")
    try:
        await nftables.dry_run(tables.create(table))
    except NftablesError as error:
        remedy = "install kmod-nft-offload (OpenWrt) or load nft_flow_offload and nft_numgen"
        return Finding(Grade.ERROR, "tables", f"the kernel refuses the flowtables: {error}", remedy)
    return Finding(Grade.FINE, "tables", "the kernel accepts the flowtables")
