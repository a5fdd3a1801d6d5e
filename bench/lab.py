# SPDX-License-Identifier: GPL-2.0-or-later
"""Measurements inside the lab router: the program starts itself there once more."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from tests.lab.engine.build import build_engine
from tests.lab.guest_python import guest_python
from tests.lab.kernel import DEFAULT_KERNEL, LabKernel, ensure_kernel
from tests.lab.uml.build import ensure_uml
from tests.lab.uml.machine import UserModeLinux, processors
from tests.lab.vm import Machine

Inside = Callable[[argparse.Namespace], None]


def run_in_lab(parser: argparse.ArgumentParser, inside: Inside, hours: float = 1) -> int:
    """Run `inside` with the parsed options in the lab router; its exit status.

    `parser.prog` is the module's name, and --kernel is added to its options.
    """
    parser.add_argument("--kernel", default=DEFAULT_KERNEL)

    def boot(options: argparse.Namespace) -> int:
        kernel = ensure_kernel(options.kernel)
        return Machine(kernel, limit=hours * 3600).run(_again(parser, kernel))

    return _run(parser, inside, boot)


def run_on_uml(parser: argparse.ArgumentParser, inside: Inside, hours: float = 1) -> int:
    """The same on User Mode Linux: much faster, and its clock skips the time when nothing runs."""

    def boot(options: argparse.Namespace) -> int:
        kernel = ensure_uml()
        machine = UserModeLinux(kernel, processors()[-1], limit=hours * 3600)
        return machine.run(_again(parser, kernel))

    return _run(parser, inside, boot)


def _run(
    parser: argparse.ArgumentParser, inside: Inside, boot: Callable[[argparse.Namespace], int]
) -> int:
    options = parser.parse_args()
    if not os.environ.get("LAB_ROUTER"):
        return boot(options)
    inside(options)
    return 0


def _again(parser: argparse.ArgumentParser, kernel: LabKernel) -> list[str]:
    """The command that does the same inside."""
    python = guest_python(LAB_ENGINE=str(build_engine(kernel)))
    return [*python, "-m", parser.prog, *sys.argv[1:]]
