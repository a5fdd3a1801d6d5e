# SPDX-License-Identifier: GPL-2.0-or-later
"""What the subcommands share: exit codes, default paths, talking to the daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from flowguard.service.control import (
    DEFAULT_SOCKET,
    ApiError,
    NotRunning,
    Unreachable,
    request,
)

if TYPE_CHECKING:
    import argparse  # the daemon does without

DEFAULT_STATE_DIRECTORY = "/etc/flowguard"
UBUS_SOCKETS = ("/var/run/ubus/ubus.sock", "/var/run/ubus.sock")
"""Where ubusd listens, since OpenWrt 21.02 and before."""

UNITS = ("B", "kB", "MB", "GB", "TB")


class ExitCode(IntEnum):
    FINE = 0
    TROUBLE = 1
    USAGE = 2
    UNREACHABLE = 3


def add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--socket", default=DEFAULT_SOCKET, help="the daemon's control socket (%(default)s)"
    )


def add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", help="the UCI file (/etc/config/flowguard, unless overridden at run time)"
    )


def find_ubus() -> str | None:
    return next((path for path in UBUS_SOCKETS if os.path.exists(path)), None)


def ask(
    options: argparse.Namespace,
    method: str,
    params: dict[str, Any],
    show: Callable[[Any], ExitCode],
) -> ExitCode:
    """Ask the daemon and show its answer, or why there is none."""
    try:
        answer = request(options.socket, method, params)
    except (ApiError, Unreachable) as error:
        return unanswered(error, options.socket)
    return show(answer)


def unanswered(error: ApiError | Unreachable, socket: str) -> ExitCode:
    """Say in one line why the daemon behind this socket gave no answer, and what to do."""
    text = str(error)
    if isinstance(error, NotRunning) and socket == DEFAULT_SOCKET:
        from flowguard.platform import absence

        text = absence.reason()
    print(f"flowguard: {text}", file=sys.stderr)
    return ExitCode.UNREACHABLE if isinstance(error, Unreachable) else ExitCode.USAGE


def show_level(status: dict[str, Any]) -> ExitCode:
    """What came of a request, in one line."""
    reason = f": {status['reason']}" if status["level"] != status["wanted"] else ""
    print(f"wanted {status['wanted']}, now {status['level']} ({status['state']}){reason}")
    return ExitCode.FINE


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.0f} {UNITS[-1]}"
