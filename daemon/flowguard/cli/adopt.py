# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard adopt`: take flow offloading over from the firewall, or give it back."""

from __future__ import annotations

import argparse
import sys

from flowguard.cli.common import DEFAULT_STATE_DIRECTORY, ExitCode
from flowguard.host.adoption import Adoption, AdoptionError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--undo", action="store_true", help="switch on again what was switched off")
    parser.add_argument(
        "--state-dir", default=DEFAULT_STATE_DIRECTORY, help="what survives (%(default)s)"
    )


def run(options: argparse.Namespace) -> ExitCode:
    adoption = Adoption(options.state_dir)
    try:
        changed = adoption.undo() if options.undo else adoption.adopt()
    except (AdoptionError, OSError) as error:
        print(f"flowguard: adopt: {error}", file=sys.stderr)
        return ExitCode.TROUBLE
    verb = "on" if options.undo else "off"
    for option in changed:
        print(f"the firewall's {option} is switched {verb}")
    if not changed:
        print(f"there was nothing to switch {verb}")
    return ExitCode.FINE
