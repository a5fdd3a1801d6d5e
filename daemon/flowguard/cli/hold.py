# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard hold`: keep everything from hardware for some time."""

from __future__ import annotations

import argparse

from flowguard.cli.common import ExitCode, add_socket, ask, show_level
from flowguard.platform.configuration.kinds import duration

LONGEST = 30 * 86400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kind = duration(0, LONGEST)

    def seconds(text: str) -> int:
        try:
            return kind.parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind.allowed}") from None

    parser.add_argument(
        "duration", type=seconds, help="seconds, or with unit as in 15m, 2h, 1d; 0 ends it"
    )
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    return ask(options, "hold", {"seconds": options.duration}, show_level)
