# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks, one device at a time, whether it could offload flows in hardware."""

from __future__ import annotations

from dataclasses import dataclass

from flowguard.offload.nfnetlink import Nftables


@dataclass(frozen=True, slots=True)
class Capability:
    """`capable` True means "maybe": the proof is [HW_OFFLOAD] under traffic. None: unknown."""

    capable: bool | None
    reason: str = ""


async def probe(nftables: Nftables, device: str) -> Capability:
    """Try `device` alone; changes nothing. One that is in our hardware flowtable is not tried."""
    raise NotImplementedError
