# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard adopt`: take flow offloading over from the firewall."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from flowguard.cli.common import DEFAULT_STATE_DIRECTORY, ExitCode
from flowguard.platform.openwrt.adoption import Adoption, AdoptionError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir", default=DEFAULT_STATE_DIRECTORY, help="what survives (%(default)s)"
    )


def run(options: argparse.Namespace) -> ExitCode:
    return change("adopt", Adoption(options.state_dir).adopt, "off")


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
