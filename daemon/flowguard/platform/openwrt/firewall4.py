# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether OpenWrt's firewall was stopped on purpose.

`/etc/init.d/firewall stop` is `fw4 flush`: it deletes every table of the ruleset, one after
the other and under its lock, then its state file (firewall4, root/sbin/fw4). `nft flush
ruleset` and other programs leave that file alone; `fw4 reload` and `restart` leave our tables.
"""

from __future__ import annotations

import asyncio
import fcntl
import os

POLL_SECONDS = 0.2
LOCK_LIMIT = 30.0
STARTED_POLL = 2.0


class Firewall4:
    """Below `root` are fw4's program, lock and state file, where there is an fw4."""

    def __init__(self, root: str = "/") -> None:
        self._program = os.path.join(root, "sbin/fw4")
        self._lock = os.path.join(root, "var/run/fw4.lock")
        self._state = os.path.join(root, "var/run/fw4.state")

    async def is_stopped(self) -> bool:
        """Once whatever fw4 is doing has ended; False where there is no fw4."""
        if not os.path.exists(self._program):
            return False
        await self._settled()
        return not os.path.exists(self._state)

    async def started(self) -> None:
        """Wait until it is started again."""
        while await self.is_stopped():
            await asyncio.sleep(STARTED_POLL)

    async def _settled(self) -> None:
        """Wait for the lock, without ever keeping fw4 waiting for us; at most LOCK_LIMIT."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LOCK_LIMIT
        while self._is_locked() and loop.time() < deadline:
            await asyncio.sleep(POLL_SECONDS)

    def _is_locked(self) -> bool:
        try:
            with open(self._lock, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass  # It has never run.
        return False
