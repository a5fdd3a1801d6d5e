# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard level`: set the highest level wanted at run time."""

from __future__ import annotations

import argparse

from flowguard.cli.common import ExitCode, add_socket, ask, show_level
from flowguard.core.model import Level


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", choices=[str(level) for level in Level])
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    return ask(options, "level", {"level": options.level}, show_level)
