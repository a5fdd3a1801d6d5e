# SPDX-License-Identifier: GPL-2.0-or-later
"""The record format of /dev/kmsg (Documentation/ABI/testing/dev-kmsg)."""

from __future__ import annotations

import os
import re
import socket

from flowguard.core.records import mutable

# The kernel's own limit (CONSOLE_EXT_LOG_MAX); a smaller buffer loses the record.
RECORD_BYTES = 8192

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_KERNEL_PRIORITIES = 8


@mutable
class KmsgRecord:
    """A record as read; not frozen, because that costs time on every line of a flood.

    `device_id` is the dictionary's DEVICE: `n<ifindex>`, `+<bus>:<name>`, `c<major>:<minor>`.
    `continues` says that the text belongs to the end of the record before.
    """

    sequence: int
    time: float
    kernel: bool
    text: str
    caller: str = ""
    device_id: str = ""
    continues: bool = False


def parse(data: bytes) -> KmsgRecord | None:
    """One record; None when it is none, which no kernel ever sent."""
    header, separator, body = data.decode("utf-8", "replace").partition(";")
    priority, sequence, microseconds, *rest = [*header.split(","), "", ""]
    text, _, dictionary = body.partition("\n")
    try:
        record = KmsgRecord(
            int(sequence),
            int(microseconds) / 1e6,
            int(priority) < _KERNEL_PRIORITIES,
            _unescape(text) if "\\x" in text else text,
        )
    except ValueError:
        return None
    if dictionary:
        record.device_id = _device_id(dictionary)
    if rest[0] != "-" or len(rest) > 3:
        record.caller = _caller(rest)
        record.continues = rest[0] == "c"
    return record if separator else None


def netdev_of(device_id: str) -> str | None:
    """The one netdev of a device as the dictionary names it; None for none or several."""
    try:
        if device_id.startswith("n"):
            return socket.if_indextoname(int(device_id[1:]))
        if device_id.startswith("+"):
            bus, _, name = device_id[1:].partition(":")
            if "/" in device_id or not name:
                return None
            netdevs = os.listdir(f"/sys/bus/{bus}/devices/{name}/net")
            return netdevs[0] if len(netdevs) == 1 else None
    except (OSError, ValueError):
        return None
    return None


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _caller(fields: list[str]) -> str:
    for field in fields:
        if field.startswith("caller="):
            return field[7:]
    return ""


def _device_id(dictionary: str) -> str:
    for line in dictionary.split("\n"):
        if line.startswith(" DEVICE="):
            return line[8:]
    return ""
