# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard level`: set the highest level wanted at run time."""

from __future__ import annotations

import argparse
from typing import Any

from flowguard.cli.common import ExitCode, add_socket, ask
from flowguard.core.model import Level


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", choices=[str(level) for level in Level])
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    def show(answer: dict[str, Any]) -> ExitCode:
        print(f"wanted {answer['wanted']}, now {answer['level']} ({answer['state']})")
        return ExitCode.FINE

    return ask(options, "level", {"level": options.level}, show)
