# SPDX-License-Identifier: GPL-2.0-or-later
"""systemd as the supervisor: sd_notify(3) and sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

from flowguard.platform.supervisor import SIGNS_PER_TIMEOUT


class Systemd:
    """For a service of Type=notify, with WatchdogSec or without."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.interval: float | None = None
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if for_us and (microseconds := environment.get("WATCHDOG_USEC", "")).isdigit():
            self.interval = int(microseconds) / 1e6 / SIGNS_PER_TIMEOUT
        self._notify = _notifier(environment["NOTIFY_SOCKET"])

    async def ready(self) -> None:
        self._notify("READY=1")

    async def alive(self) -> None:
        self._notify("WATCHDOG=1")


def take_time(environment: Mapping[str, str], seconds: float) -> None:
    """Before it is ready, a service may need longer than TimeoutStartSec."""
    _tell(environment, f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")


def tell_ready(environment: Mapping[str, str]) -> None:
    """For a program that ends at once: one of Type=notify that never was ready has failed."""
    _tell(environment, "READY=1")


def _tell(environment: Mapping[str, str], text: str) -> None:
    if address := environment.get("NOTIFY_SOCKET"):
        _notifier(address)(text)


def _notifier(address: str) -> Callable[[str], object]:
    try:
        from systemd.daemon import notify
    except ImportError:
        # Type=notify would end a service that never says it is ready.
        return lambda text: _notify(address, text)
    return notify  # type: ignore[no-any-return]


def _notify(address: str, text: str) -> None:
    """The protocol of sd_notify(3): one datagram; `@` stands for the abstract namespace."""
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(text.encode(), address)
