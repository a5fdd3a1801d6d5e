# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interfaces packets are routed over, as OpenWrt's netifd knows.

Source: netifd, ubus.c (`network.interface dump`, event `network.interface`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowguard.core.records import frozen
from flowguard.ubus.connection import Connection
from flowguard.ubus.errors import UbusError
from flowguard.ubus.wire import Status

LOOPBACK = "lo"


@frozen
class Interfaces:
    """Names of network devices; `carriers` leads from a PPP device to the one below it."""

    names: tuple[str, ...]
    carriers: Mapping[str, str]


async def interfaces(path: str) -> Interfaces | None:
    """Ask netifd, over the ubusd behind this socket; None when ubusd knows no netifd.

    Raises OSError when nobody answers.
    """
    try:
        connection = await Connection.connect(path)
        try:
            return read_dump(await connection.call("network.interface", "dump"))
        finally:
            connection.close()
    except UbusError as error:
        if error.status is Status.NOT_FOUND:
            return None
        raise OSError(f"netifd: {error}") from error


def read_dump(answer: Mapping[str, Any]) -> Interfaces:
    """The interfaces of a dump; what does not have netifd's form is passed over.

    An interface counts also while it is down: its device stays what it was, and a session
    that is dialled anew must not cost a drain.
    """
    names: set[str] = set()
    carriers: dict[str, str] = {}
    entries = answer.get("interface")
    for device, l3_device in _devices(entries if isinstance(entries, list) else []):
        names |= {name for name in (device, l3_device) if name not in ("", LOOPBACK)}
        if device and l3_device and device != l3_device:
            carriers[l3_device] = device
    return Interfaces(tuple(sorted(names)), carriers)


def _devices(entries: list[Any]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if isinstance(entry, dict):
            device, l3_device = (entry.get(key, "") for key in ("device", "l3_device"))
            if isinstance(device, str) and isinstance(l3_device, str):
                yield device, l3_device
