# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks, one device at a time, whether it could offload flows in hardware."""

from __future__ import annotations

import errno
import os

from flowguard.core.records import frozen
from flowguard.kernel.ethtool import has_feature
from flowguard.kernel.nftables import reading
from flowguard.kernel.nftables.changes import NftablesError, TryFlowtable
from flowguard.kernel.nftables.transactions import Nftables

FEATURE = "hw-tc-offload"


@frozen
class Capability:
    """`capable` True means "maybe": the proof is [HW_OFFLOAD] under traffic. None: unknown."""

    capable: bool | None
    reason: str = ""


UNKNOWN = Capability(None)


def known(nftables: Nftables, device: str) -> Capability:
    """What can be told of it without touching its driver."""
    try:
        if has_feature(device, FEATURE) is False:
            missing = f"{FEATURE} is off, or the driver does not have it (ethtool -k)"
            return Capability(False, missing)
        return Capability(True if device in reading.bound_devices(nftables) else None)
    except OSError as error:
        return Capability(None, error.strerror or str(error))


async def probe(nftables: Nftables, device: str) -> Capability:
    """What is known of `device`, or else what a trial of it tells."""
    found = known(nftables, device)
    return await trial(nftables, device) if found == UNKNOWN else found


async def trial(nftables: Nftables, device: str) -> Capability:
    """Try `device` alone; changes nothing.

    The kernel binds the driver for the trial and unbinds it again.
    """
    refusal = await refusal_of(nftables, device, hardware=True)
    if refusal is None:
        return Capability(True)
    software = await refusal_of(nftables, device, hardware=False)
    if software is not None:
        return Capability(None, f"the kernel offers no flowtable on this device: {software}")
    return Capability(False, f"the driver refuses a hardware flowtable: {refusal}")


async def refusal_of(nftables: Nftables, device: str, hardware: bool) -> str | None:
    """Why the kernel will not have a flowtable on this device alone; None when it will."""
    try:
        await nftables.dry_run([TryFlowtable(device, hardware)])
    except NftablesError as error:
        if error.errno == errno.EOPNOTSUPP:
            return "not supported"
        return os.strerror(error.errno)
    return None
