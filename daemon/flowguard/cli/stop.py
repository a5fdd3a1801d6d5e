# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard stop`: end the daemon as planned; `--release` leaves nothing in the kernel."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import Any

from flowguard.cli.common import ExitCode, add_socket
from flowguard.host.control import ApiError, Unreachable, request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--release",
        action="store_true",
        help="drain hardware and remove all tables, also when no daemon runs",
    )
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    try:
        answer: dict[str, Any] = request(options.socket, "stop", {"release": options.release})
        left = answer["left_in_hardware"]
    except ApiError as error:
        print(f"flowguard: stop: {error}", file=sys.stderr)
        return ExitCode.TROUBLE
    except Unreachable as error:
        if not options.release:
            print(f"flowguard: {error}", file=sys.stderr)
            return ExitCode.UNREACHABLE
        left = asyncio.run(_release(os.path.dirname(options.socket)))
    for flow in left:
        print(f"flowguard: stop: still in hardware: {flow}", file=sys.stderr)
    return ExitCode.TROUBLE if left else ExitCode.FINE


async def _release(runtime_directory: str) -> list[str]:
    from flowguard.offload.converge import Converger
    from flowguard.offload.nfnetlink import Nftables

    nftables = Nftables()
    try:
        converger = Converger(nftables, runtime_directory, lambda progress: None)
        return [str(flow) for flow in await converger.release()]
    finally:
        nftables.close()
