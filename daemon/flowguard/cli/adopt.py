# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard adopt`: take flow offloading over from the firewall."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable

from flowguard.actuators.firewall_drain import drain_firewall
from flowguard.cli.common import DEFAULT_STATE_DIRECTORY, ExitCode
from flowguard.kernel import linux
from flowguard.kernel.netlink.codec import MalformedMessage
from flowguard.platform.openwrt.adoption import Adoption, AdoptionError
from flowguard.service.control import DEFAULT_SOCKET


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir", default=DEFAULT_STATE_DIRECTORY, help="what survives (%(default)s)"
    )


def run(options: argparse.Namespace) -> ExitCode:
    return change("adopt", Adoption(options.state_dir, _drain).adopt, "off")


def _drain() -> None:
    """Empty the firewall's hardware; what cannot be done is told, and the rest goes on."""
    runtime_directory = os.path.dirname(DEFAULT_SOCKET)
    try:
        with linux.opened() as machine:
            left = asyncio.run(drain_firewall(machine, runtime_directory))
    except (OSError, MalformedMessage) as error:
        print(f"flowguard: adopt: hardware is not drained: {error}", file=sys.stderr)
        return
    for flow in left:
        print(f"flowguard: adopt: does not leave the hardware: {flow}", file=sys.stderr)


def change(command: str, switch: Callable[[], tuple[str, ...]], way: str) -> ExitCode:
    """Switch the firewall's options, and say which."""
    try:
        changed = switch()
    except (AdoptionError, OSError) as error:
        print(f"flowguard: {command}: {error}", file=sys.stderr)
        return ExitCode.TROUBLE
    for option in changed:
        print(f"the firewall's {option} is switched {way}")
    if not changed:
        print(f"there was nothing to switch {way}")
    return ExitCode.FINE
