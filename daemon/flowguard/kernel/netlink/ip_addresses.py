# SPDX-License-Identifier: GPL-2.0-or-later
"""IPv4 and IPv6 addresses as netlink and conntrack carry them: 4 or 16 bytes."""

from __future__ import annotations

import socket

FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}


def packed(address: str) -> bytes:
    """Raises OSError for what is no address."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def written(address: bytes) -> str:
    """As the kernel writes it, so that equal addresses are equal texts; raises KeyError."""
    return socket.inet_ntop(FAMILIES[len(address)], address)
