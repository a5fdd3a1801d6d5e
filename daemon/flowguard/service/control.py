# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket: JSON, one request and one reply a line, for root only.

Request `{"method": NAME, "params": {...}}`; reply `{"result": ...}` or `{"error": TEXT}`.
Who asks needs no asyncio, which takes a command longer to import than to be answered.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

DEFAULT_SOCKET = "/var/run/flowguard/control.sock"
CALL_SECONDS = 30
LONG_CALL_SECONDS = 180
"""For what binds drivers or waits for a drain, which takes two minutes at most."""

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]


class ApiError(Exception):
    """A request that is wrong as it stands; the message goes to the caller."""


class NotKnown(ApiError):
    """It asks for something that is not there."""


class NotNow(ApiError):
    """The same request may be served later."""


class Unreachable(Exception):
    """The daemon does not answer on its control socket."""


class NotRunning(Unreachable):
    """Nobody listens there."""


class NoAnswer(Unreachable):
    """A daemon is there, but does not answer in time."""


def request(
    path: str,
    method: str,
    params: dict[str, Any] | None = None,
    seconds: float = CALL_SECONDS,
) -> Any:
    """Ask a running daemon; ApiError when it refuses, Unreachable when nothing can be asked.

    Of the latter NotRunning when it is not there, NoAnswer when it takes more than so many
    `seconds`.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(path)
            line = json.dumps({"method": method, "params": params or {}})
            connection.sendall(line.encode() + b"\n")
            reply = connection.makefile("rb").readline()
        except (TimeoutError, BlockingIOError):  # The latter: too many wait for it already.
            raise NoAnswer(f"{path}: no answer in {seconds:g} s; does flowguard hang?") from None
        except PermissionError:
            raise Unreachable(f"{path}: only root may ask") from None
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning(f"{path}: {error.strerror}; is flowguard running?") from None
        except OSError as error:
            raise Unreachable(f"{path}: {error.strerror}") from None
    if not reply:
        raise Unreachable(f"{path}: the daemon closed the connection")
    answer = json.loads(reply)
    if "error" in answer:
        raise ApiError(answer["error"])
    return answer["result"]
