# SPDX-License-Identifier: GPL-2.0-or-later
"""A program that runs on the machine: its loop, its time, and its sudden end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from tests.simulator.loop import VirtualLoop
from tests.simulator.world import World

HELD_MOST = 0.05
"""Seconds that one callback may keep the loop from all others."""
ABANDON_ATTEMPTS = 20
CALLBACK_SECONDS = (0.00005, 0.0005)
"""What a callback takes by itself; others go on meanwhile."""


class Killed(SystemExit):
    """The program is dead, and whoever is still running in it changes nothing any more."""


class Process:
    """One life; what it calls of the machine lets it wait, or holds up its whole loop."""

    current: Process | None = None

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.loop = VirtualLoop(self.time)
        self.loop.set_exception_handler(self._unhandled)
        self.dead = False
        self.ended = False
        self.failure: BaseException | None = None
        self.held_most = 0.0
        self.hold_limit = HELD_MOST
        self.at_end: list[Callable[[], None]] = []
        self._held = 0.0
        self._busy_until = 0.0
        self._random: Random = world.random(f"process {name}")
        self._main: asyncio.Task[Any] | None = None

    def start(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.world.runners.append(self)

        async def started() -> None:
            try:
                await main()
            except Killed:
                pass
            except Exception as error:
                self.failure = error

        self._main = self.loop.create_task(started())

    def time(self) -> float:
        return self.world.now + self._held

    def hold(self, seconds: float) -> None:
        """The loop is kept from everything else; a dead program gets no further than this."""
        if self.dead:
            raise Killed
        self._held += seconds

    async def wait(self, seconds: float) -> None:
        """Wait for the machine; only this coroutine does."""
        if self.dead:
            raise Killed
        future = self.loop.create_future()
        self.world.after(seconds, lambda: _settle(future))
        await future
        if self.dead:
            raise Killed

    def call(self, callback: Callable[..., object], *args: object) -> None:
        """Have the loop call it soon; a dead one calls nobody."""
        if not (self.dead or self.ended):
            self.loop.call_soon(callback, *args)

    def next_time(self) -> float:
        return max(self.loop.next_time(), self._busy_until)

    def turn(self) -> None:
        Process.current = self
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self.loop._asyncgen_finalizer_hook)
        try:
            self.loop.turn()
        finally:
            Process.current = None
            sys.set_asyncgen_hooks(*hooks)
        if self._held > self.hold_limit:
            self.world.violate(f"{self.name} held its loop for {self._held * 1000:.0f} ms")
        self.held_most = max(self.held_most, self._held)
        self._busy_until = self.world.now + self._held + self._random.uniform(*CALLBACK_SECONDS)
        self._held = 0.0
        if self._main and self._main.done() and not self.ended:
            self._end()

    def signal(self, number: int) -> bool:
        """Whether it handles this signal; one that does not is ended by it."""
        handler = self.loop.signal_handlers.get(number)
        if handler is None:
            self.kill()
            return False
        handler()
        return True

    def kill(self) -> None:
        """SIGKILL, between any two callbacks."""
        if not (self.dead or self.ended):
            self.dead = True
            self._end()

    def _end(self) -> None:
        self.ended = True
        self.world.runners.remove(self)
        for call in self.at_end:
            call()
        for task in asyncio.all_tasks(self.loop):
            # Nobody complains of what a dead program left undone.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if self.dead:
                _abandon(task)

    def _unhandled(self, loop: object, context: dict[str, Any]) -> None:
        if not self.dead:
            self.world.violate(
                f"{self.name}: {context.get('message')}: {context.get('exception')!r}"
            )

    @property
    def alive(self) -> bool:
        return not (self.dead or self.ended)


def _abandon(task: asyncio.Task[Any]) -> None:
    """Take its frames down; whatever they still try is refused by the machine."""
    coroutine: Any = task.get_coro()
    for _ in range(ABANDON_ATTEMPTS):
        try:
            coroutine.close()
        except RuntimeError:
            continue  # It waits for something in `finally`.
        except BaseException:
            return
        else:
            return


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
