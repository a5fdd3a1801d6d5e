# SPDX-License-Identifier: GPL-2.0-or-later
"""What the objects inside one of our tables are called."""

from __future__ import annotations

import binascii
import os

from flowguard.core.model import Family

CHAIN = "forward"
FLOWTABLE = "flows"
DEVICE_SET = "devices"
HOST_SETS = {Family.IPV4: "hosts4", Family.IPV6: "hosts6"}
IFNAME_SIZE = 16
FIREWALL_TABLE = "fw4"
"""The table of OpenWrt's firewall, which is another's."""


def padded_name(device: str) -> bytes:
    """An interface name as the kernel's registers hold it (IFNAMSIZ)."""
    return os.fsencode(device).ljust(IFNAME_SIZE, b"\0")


SEED = " seed "


def rule_comment(expressions: bytes, seed: int | None = None) -> str:
    """What tells a rule of ours from any other: it changes whenever its meaning does.

    It names the seed of a rule that draws, so that the next daemon draws by the same one.
    """
    comment = f"flowguard {binascii.crc32(expressions):08x}"
    return comment if seed is None else f"{comment}{SEED}{seed:08x}"


def seed_in(comment: str) -> int | None:
    """The seed that a comment of ours names; None without one."""
    _, _, seed = comment.partition(SEED)
    try:
        return int(seed, 16)
    except ValueError:
        return None
