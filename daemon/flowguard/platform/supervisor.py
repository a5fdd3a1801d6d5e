# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells whoever started the daemon that it is ready, and that its main loop still turns.

systemd and procd start a daemon anew that has fallen silent; see the modules of their names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

log = logging.getLogger(__name__)

SIGNS_PER_TIMEOUT = 3
"""So many signs of life are given where one would do, as one may come late."""
RETRY_SECONDS = 2.0
"""Until the next attempt when a sign could not be given."""
BusCall = Callable[[str, str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Calls an object on ubus: its path, a method, arguments."""


class Supervisor(Protocol):
    """`interval` are the seconds from one sign of life to the next; None: nobody waits for any.

    `ready` and `alive` raise OSError when the supervisor cannot be told.
    """

    interval: float | None

    async def ready(self) -> None: ...

    async def alive(self) -> None: ...


def find(environment: Mapping[str, str], bus: BusCall | None) -> Supervisor | None:
    """Whoever supervises this process, by the environment it was given; None: nobody."""
    if "NOTIFY_SOCKET" in environment:
        from flowguard.platform.systemd.readiness import Systemd

        return Systemd(environment)
    timeout = environment.get("FLOWGUARD_WATCHDOG", "")
    if bus and timeout.isdigit() and int(timeout) > 0:
        from flowguard.platform.openwrt.procd import Procd

        return Procd(bus, int(timeout))
    return None


async def attend(supervisor: Supervisor, report: Callable[[str], None]) -> None:
    """Say that the daemon is ready, then give signs of life; until cancelled.

    `report` hears "ok", or why the supervisor cannot be told.
    """
    tell, reported = supervisor.ready, ""
    while True:
        try:
            await tell()
        except OSError as error:
            now = f"not available: {error}"
        else:
            now, tell = "ok", supervisor.alive
        if now != reported:
            reported = now
            report(now)
            if now != "ok":
                log.warning("the supervisor cannot be told that flowguard lives: %s", now)
        if supervisor.interval is None and now == "ok":
            return
        wait = supervisor.interval or RETRY_SECONDS
        await asyncio.sleep(wait if now == "ok" else min(wait, RETRY_SECONDS))
