# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard version`."""

from __future__ import annotations

import argparse

from flowguard import __version__
from flowguard.cli.common import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(options: argparse.Namespace) -> ExitCode:
    print(__version__)
    return ExitCode.FINE
