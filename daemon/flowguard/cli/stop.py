# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard stop`: end the daemon as planned; how says what becomes of hardware and tables.

What is drained or released without the daemon is so with its lock in hand: beside one that is
still starting, the tables would be back a moment later.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from flowguard.cli.common import DEFAULT_STATE_DIRECTORY, ExitCode, add_socket, unanswered
from flowguard.kernel.clock import monotonic
from flowguard.paths import Paths
from flowguard.service.control import (
    LONG_CALL_SECONDS,
    ApiError,
    NoAnswer,
    NotRunning,
    Unreachable,
    request,
)

if TYPE_CHECKING:
    from flowguard.kernel.machine import Machine

T = TypeVar("T")

AT_ONCE_SECONDS = 10
"""A router that goes down does not wait longer for a daemon that hangs."""
LOOK_SECONDS = 0.2
DRAIN, RELEASE, KEEP, REBOOT = "drain", "release", "keep", "reboot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(how=DRAIN)
    group = parser.add_mutually_exclusive_group()
    for how, text in (
        (RELEASE, "take everything out of the kernel, also when no daemon runs"),
        (KEEP, "at once; connections stay in hardware for a daemon that is started next"),
        (REBOOT, "at once; the router is about to go down, and hardware with it"),
    ):
        group.add_argument(f"--{how}", dest="how", action="store_const", const=how, help=text)
    parser.add_argument(
        "--state-dir",
        default=DEFAULT_STATE_DIRECTORY,
        help="what survives, for an end without a daemon (%(default)s)",
    )
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    paths = Paths(None, options.state_dir, options.socket)
    try:
        if options.how == RELEASE:
            left = release(paths)
        elif options.how == DRAIN:
            left = drain(paths)
        else:
            left = _ask(options.socket, options.how, AT_ONCE_SECONDS)
    except ApiError as error:
        print(f"flowguard: stop: {error}", file=sys.stderr)
        return ExitCode.TROUBLE
    except Unreachable as error:
        return unanswered(error, options.socket)
    for flow in left:
        print(f"flowguard: stop: still in hardware: {flow}", file=sys.stderr)
    return ExitCode.TROUBLE if left else ExitCode.FINE


def drain(paths: Paths, seconds: float = LONG_CALL_SECONDS) -> list[str]:
    """Have the daemon leave hardware, or do it where one has died: nothing would guard it.

    Returns the flows that are still in hardware. Raises ApiError for what the daemon or the
    kernel refuses, and Unreachable when there is no daemon and no hardware to leave either, or
    when it does not listen yet.
    """
    from flowguard.platform import lock

    try:
        return _ask(paths.socket, DRAIN, seconds)
    except NotRunning as nobody:
        try:
            lock.take(paths.runtime_directory)
        except (lock.AlreadyRunning, OSError):
            raise nobody from None
        if not _drain_here(paths):
            raise
        return []


def release(paths: Paths, seconds: float = LONG_CALL_SECONDS) -> list[str]:
    """Have the daemon release everything, or do it where there is none.

    Returns the flows that are still in hardware. One that holds the lock but does not listen,
    because it starts or ends, is waited for. One that listens but does not answer hangs: it
    must not keep its hardware, so everything is released beside it.

    Raises ApiError for what the daemon or the kernel refuses, and Unreachable when nobody
    listened for so many `seconds`.
    """
    from flowguard.platform import lock

    path = paths.socket
    deadline = monotonic() + seconds
    waits = False
    while True:
        try:
            return _ask(path, RELEASE, seconds)
        except NoAnswer as error:
            print(f"flowguard: stop: {error} Everything is released beside it", file=sys.stderr)
            return _release_here(paths)
        except Unreachable:
            pass
        try:
            lock.take(paths.runtime_directory)
            return _release_here(paths)
        except lock.AlreadyRunning as error:
            if monotonic() >= deadline:
                raise Unreachable(f"{error}, but it does not listen on {path}") from None
            if not waits:
                print(f"flowguard: stop: {error}: waiting until it listens", file=sys.stderr)
            waits = True
        except OSError as error:
            raise ApiError(str(error)) from None
        time.sleep(LOOK_SECONDS)


def _ask(path: str, how: str, seconds: float) -> list[str]:
    left: list[str] = request(path, "stop", {"how": how}, seconds)["left_in_hardware"]
    return left


def _drain_here(paths: Paths) -> bool:
    """Whether there was anything to drain."""
    from flowguard.platform.configuration import loading
    from flowguard.service import retreat

    configuration = loading.load(paths.configuration).configuration
    return _without_daemon(lambda machine: retreat.drain_to_software(machine, configuration, paths))


def _release_here(paths: Paths) -> list[str]:
    from flowguard.service import retreat

    return _without_daemon(lambda machine: retreat.release(machine, paths))


def _without_daemon(work: Callable[[Machine], Coroutine[Any, Any, T]]) -> T:
    import asyncio

    from flowguard.actuators.approach import ConvergeError
    from flowguard.kernel import linux

    # Ended in the middle of a drain, the flow timeouts have to be put back.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return asyncio.run(work(linux.machine()))
    except TimeoutError:
        raise ApiError("the drain does not end") from None
    except (OSError, ConvergeError) as error:
        raise ApiError(str(error)) from None
