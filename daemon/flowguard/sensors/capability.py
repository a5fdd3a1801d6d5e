# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks, one device at a time, whether it could offload flows in hardware."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection

from flowguard.core.records import frozen
from flowguard.kernel.machine import Machine, Network, Tables
from flowguard.kernel.nftables.changes import NftablesError, TryFlowtable

FEATURE = "hw-tc-offload"


@frozen
class Capability:
    """`capable` True means "maybe": the proof is [HW_OFFLOAD] under traffic. None: unknown."""

    capable: bool | None
    reason: str = ""


UNKNOWN = Capability(None)


async def bound_devices(tables: Tables) -> tuple[str, ...]:
    """The devices of our hardware flowtable; raises OSError when the kernel cannot say."""
    found = (await tables.read()).hardware
    return found.devices if found and found.hardware else ()


async def known(network: Network, device: str, bound: Collection[str]) -> Capability:
    """What can be told of it without touching its driver; `bound` are the `bound_devices`."""
    try:
        if await network.has_feature(device, FEATURE) is False:
            missing = f"{FEATURE} is off, or the driver does not have it (ethtool -k)"
            return Capability(False, missing)
    except OSError as error:
        return Capability(None, error.strerror or str(error))
    return Capability(True if device in bound else None)


async def probe(machine: Machine, device: str) -> Capability:
    """What is known of `device`, or else what a trial of it tells."""
    try:
        found = await known(machine.network, device, await bound_devices(machine.tables))
    except OSError as error:
        return Capability(None, error.strerror or str(error))
    return await trial(machine.tables, device) if found == UNKNOWN else found


async def trial(tables: Tables, device: str) -> Capability:
    """Try `device` alone; changes nothing.

    The kernel binds the driver for the trial and unbinds it again.
    """
    refusal = await refusal_of(tables, device, hardware=True)
    if refusal is None:
        return Capability(True)
    software = await refusal_of(tables, device, hardware=False)
    if software is not None:
        return Capability(None, f"the kernel offers no flowtable on this device: {software}")
    return Capability(False, f"the driver refuses a hardware flowtable: {refusal}")


async def refusal_of(tables: Tables, device: str, hardware: bool) -> str | None:
    """Why the kernel will not have a flowtable on this device alone; None when it will."""
    try:
        await tables.dry_run([TryFlowtable(device, hardware)])
    except NftablesError as error:
        if error.errno == errno.EOPNOTSUPP:
            return "not supported"
        return os.strerror(error.errno)
    except OSError as error:
        return error.strerror or str(error)
    return None
