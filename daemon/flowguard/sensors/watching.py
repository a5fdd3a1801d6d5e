# SPDX-License-Identifier: GPL-2.0-or-later
"""What sensors have in common that do nothing but listen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flowguard.kernel.machine import Failed, Watch


async def watch(listen: Callable[[Failed], Watch], alive: Callable[[], None]) -> None:
    """Listen until cancelled; raises OSError with the text of a watch that failed."""
    failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def failed(why: str) -> None:
        if not failure.done():
            failure.set_result(why)

    watching = listen(failed)
    try:
        alive()
        raise OSError(await failure)
    finally:
        watching.close()


class ChangesSensor:
    """Calls `changed` when a watch says so, and once more after a time when it saw nothing."""

    patience: float | None = None

    def __init__(
        self,
        name: str,
        listen: Callable[[Callable[[], None], Failed], Watch],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self._listen = listen
        self._changed = changed
        self._ran_before = False

    async def run(self, alive: Callable[[], None]) -> None:
        def listening() -> None:
            alive()
            if self._ran_before:
                self._changed()
            self._ran_before = True

        await watch(lambda failed: self._listen(self._changed, failed), listening)
