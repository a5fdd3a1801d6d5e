# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard forget`: drop what is remembered."""

from __future__ import annotations

import argparse

from flowguard.cli.common import ExitCode, add_socket, ask, show_level


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", nargs="?", help="all devices, and the reboots, if none is named")
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    device = {} if options.device is None else {"device": options.device}
    return ask(options, "forget", device, show_level)
