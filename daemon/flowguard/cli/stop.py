# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard stop`: end the daemon as planned; `--release` leaves nothing in the kernel."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from flowguard.cli.common import ExitCode, add_socket, unanswered
from flowguard.service.control import (
    CALL_SECONDS,
    LONG_CALL_SECONDS,
    ApiError,
    Unreachable,
    request,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--release",
        action="store_true",
        help="drain hardware and remove all tables, also when no daemon runs",
    )
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    try:
        answer: dict[str, Any] = request(
            options.socket,
            "stop",
            {"release": options.release},
            LONG_CALL_SECONDS if options.release else CALL_SECONDS,
        )
        left = answer["left_in_hardware"]
    except ApiError as error:
        print(f"flowguard: stop: {error}", file=sys.stderr)
        return ExitCode.TROUBLE
    except Unreachable as error:
        if not options.release:
            return unanswered(error)
        from flowguard.actuators.approach import ConvergeError
        from flowguard.service import retreat

        try:
            left = retreat.release(os.path.dirname(options.socket))
        except (OSError, ConvergeError) as error:
            print(f"flowguard: stop: {error}", file=sys.stderr)
            return ExitCode.TROUBLE
    for flow in left:
        print(f"flowguard: stop: still in hardware: {flow}", file=sys.stderr)
    return ExitCode.TROUBLE if left else ExitCode.FINE
