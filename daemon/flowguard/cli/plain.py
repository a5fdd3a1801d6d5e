# SPDX-License-Identifier: GPL-2.0-or-later
"""The subcommands that only pass on a request without arguments: `retry`, `suspend`, `resume`."""

from __future__ import annotations

import argparse

from flowguard.cli.common import ExitCode, add_socket, ask, show_level


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_socket(parser)


def run(options: argparse.Namespace) -> ExitCode:
    return ask(options, options.command, {}, show_level)
