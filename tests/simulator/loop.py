# SPDX-License-Identifier: GPL-2.0-or-later
"""An event loop that never waits: somebody else lets it run one callback at a time."""

from __future__ import annotations

import asyncio
import heapq
import math
from asyncio import events
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop of one program; `now` is its clock.

    Neither threads nor sockets: what would need them raises, so that nothing can wait in
    the real world unseen.
    """

    # What the base class keeps, in all versions from 3.11 on.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float
    _timer_cancelled_count: int

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self._clock_resolution = 1e-9
        self.signal_handlers: dict[int, Callable[[], None]] = {}

    def time(self) -> float:
        return self._now()

    def next_time(self) -> float:
        """When a callback is due; `math.inf` when none is."""
        if self._ready:
            return -math.inf
        scheduled = self._scheduled
        while scheduled and scheduled[0].cancelled():
            self._forget(heapq.heappop(scheduled))
        return scheduled[0].when() if scheduled else math.inf

    def turn(self) -> None:
        """Run the next callback that is due, if there is one."""
        now = self._now() + self._clock_resolution
        scheduled = self._scheduled
        while scheduled and scheduled[0].when() < now:
            handle = heapq.heappop(scheduled)
            if handle.cancelled():
                self._forget(handle)
            else:
                handle._scheduled = False  # type: ignore[attr-defined]
                self._ready.append(handle)
        if not self._ready:
            return
        ready = self._ready.popleft()
        if ready.cancelled():
            return
        events._set_running_loop(self)
        try:
            ready._run()
        finally:
            events._set_running_loop(None)

    def _forget(self, handle: asyncio.TimerHandle) -> None:
        handle._scheduled = False  # type: ignore[attr-defined]
        self._timer_cancelled_count = max(0, self._timer_cancelled_count - 1)

    def __del__(self) -> None:
        """It holds nothing that would have to be closed."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., Any], *args: Any
    ) -> None:
        def soon() -> None:
            self.call_soon(callback, *args)

        self.signal_handlers[sig] = soon

    def remove_signal_handler(self, sig: int) -> bool:
        return self.signal_handlers.pop(sig, None) is not None

    def run_in_executor(self, *args: object, **more: object) -> NoReturn:
        raise AssertionError("a thread outside the kernel's room")

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        self.create_task(agen.aclose())
