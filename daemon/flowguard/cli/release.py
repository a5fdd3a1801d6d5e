# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard release`: give flow offloading back to the firewall."""

from __future__ import annotations

import argparse

from flowguard.cli.adopt import add_arguments, change
from flowguard.cli.common import ExitCode
from flowguard.platform.openwrt.adoption import Adoption

__all__ = ["add_arguments"]


def run(options: argparse.Namespace) -> ExitCode:
    return change("release", Adoption(options.state_dir).undo, "on")
