# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard retry`: end every wait, try the next level up now."""

from __future__ import annotations

import argparse

from flowguard.cli.common import ExitCode, add_socket, ask, show_level


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    return ask(options, "retry", {}, show_level)
