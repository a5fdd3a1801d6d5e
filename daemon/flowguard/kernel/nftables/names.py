# SPDX-License-Identifier: GPL-2.0-or-later
"""What the objects inside one of our tables are called."""

from __future__ import annotations

CHAIN = "forward"
FLOWTABLE = "flows"
DEVICE_SET = "devices"
IFNAME_SIZE = 16


def padded_name(device: str) -> bytes:
    """An interface name as the kernel's registers hold it (IFNAMSIZ)."""
    return device.encode().ljust(IFNAME_SIZE, b"\0")
