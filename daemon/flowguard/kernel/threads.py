# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls into the kernel that may take for ever."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], name: str, finished: Callable[[], None]) -> T:
    """The result of a call that the kernel may hold up; `finished` runs on the loop after it.

    Cancelling stops the waiting only. The thread is a daemon one: a driver stuck in the
    kernel must not keep us from ending.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def release(done: asyncio.Future[T]) -> None:
        finished()
        done.exception()  # Seen, also when whoever asked was cancelled meanwhile.

    result.add_done_callback(release)

    def work() -> None:
        try:
            settle: Callable[[], None] = partial(result.set_result, call())
        except BaseException as error:
            settle = partial(result.set_exception, error)
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(settle)

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as error:  # The system has no room for another one.
        result.set_exception(OSError(errno.EAGAIN, str(error)))
    return await asyncio.shield(result)
