# SPDX-License-Identifier: GPL-2.0-or-later
"""What kind of address it is, for whoever must not see which one.

The kinds are those of the IANA registries of special-purpose addresses (RFC 6890).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

MAC_OCTETS = 6

_IPV4 = (
    ("private", IPv4Network("10.0.0.0/8")),
    ("private", IPv4Network("172.16.0.0/12")),
    ("private", IPv4Network("192.168.0.0/16")),
    ("shared", IPv4Network("100.64.0.0/10")),
    ("link-local", IPv4Network("169.254.0.0/16")),
)
_IPV6 = (
    ("link-local", IPv6Network("fe80::/10")),
    ("unique-local", IPv6Network("fc00::/7")),
    ("nat64", IPv6Network("64:ff9b::/96")),
    ("mapped", IPv6Network("::ffff:0:0/96")),
    # Multicast, but its end is the end of a host's own address (RFC 4291, 2.7.1).
    ("solicited", IPv6Network("ff02::1:ff00:0/104")),
)
_HOST_OF_ALL = re.compile(r"[0:-]+|(?:ff[:-]?)+", re.IGNORECASE)


def ipv4_kind(address: IPv4Address) -> str:
    """Its kind in a word; "" for one that is everybody's: loopback, any, multicast, broadcast."""
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return ""
    if int(address) == 0xFFFFFFFF:
        return ""
    return next((kind for kind, network in _IPV4 if address in network), "public")


def ipv6_kind(address: IPv6Address) -> str:
    """The same for IPv6."""
    found = next((kind for kind, network in _IPV6 if address in network), "")
    if found:
        return found
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return ""
    return "public"


def is_everybodys_mac(text: str) -> bool:
    """Whether it is zero, broadcast or a group of machines, and not one machine.

    The groups of IPv6 (33:33:ff) have the end of a host's address in them.
    """
    octets = re.split("[:-]", text.lower())
    if _HOST_OF_ALL.fullmatch(text):
        return True
    is_group = bool(int(octets[0], 16) & 1)
    return is_group and len(octets) == MAC_OCTETS and octets[:3] != ["33", "33", "ff"]


def macs_in(run: str) -> list[str]:
    """The MACs in a run of octets; the kernel prints a frame's whole head as one (nf_log)."""
    octets = re.split("[:-]", run)
    separator = run[2]
    whole = len(octets) % MAC_OCTETS == 0
    head = len(octets) == 2 * MAC_OCTETS + 2  # Two addresses and the type.
    if not (whole or head):
        return [run]
    return [
        separator.join(octets[first : first + MAC_OCTETS])
        for first in range(0, len(octets), MAC_OCTETS)
    ]


def ipv4_in(text: str) -> IPv4Address | None:
    """Also with leading zeros, as the kernel prints some (%pi4)."""
    numbers = [int(part) for part in text.split(".")]
    return IPv4Address(bytes(numbers)) if max(numbers) <= 0xFF else None


def ipv6_in(text: str) -> tuple[int, int, IPv6Address] | None:
    """The address in what looks like one, with its place: something may stand before or behind.

    None when there is none, as in a time of day.
    """
    starts = [0, *(found.end() for found in re.finditer(":", text))]
    ends = [len(text), *(found.start() for found in reversed([*re.finditer(":", text)]))]
    for length in range(len(text), 1, -1):
        for start in starts:
            if start + length in ends and (address := _ipv6(text[start : start + length])):
                return start, start + length, address
    return None


def _ipv6(text: str) -> IPv6Address | None:
    try:
        return IPv6Address(text)
    except ValueError:
        return None
