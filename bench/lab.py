# SPDX-License-Identifier: GPL-2.0-or-later
"""Measurements inside the lab router: the program starts itself there once more."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from tests.lab.engine.build import build_engine
from tests.lab.guest_python import guest_python
from tests.lab.kernel import DEFAULT_KERNEL, ensure_kernel
from tests.lab.uml.build import ensure_uml
from tests.lab.uml.machine import UserModeLinux, processors
from tests.lab.vm import Machine


def run_in_lab(
    parser: argparse.ArgumentParser, inside: Callable[[argparse.Namespace], None], hours: float = 1
) -> int:
    """Run `inside` with the parsed options in the lab router; its exit status.

    `parser.prog` is the module's name, and --kernel is added to its options.
    """
    parser.add_argument("--kernel", default=DEFAULT_KERNEL)
    options = parser.parse_args()
    if os.environ.get("LAB_ROUTER"):
        inside(options)
        return 0
    kernel = ensure_kernel(options.kernel)
    python = guest_python(LAB_ENGINE=str(build_engine(kernel)))
    command = [*python, "-m", parser.prog, *sys.argv[1:]]
    return Machine(kernel, limit=hours * 3600).run(command)


def run_on_uml(
    parser: argparse.ArgumentParser, inside: Callable[[argparse.Namespace], None], hours: float = 1
) -> int:
    """The same on User Mode Linux: much faster, and its clock skips the time when nothing runs."""
    options = parser.parse_args()
    if os.environ.get("LAB_ROUTER"):
        inside(options)
        return 0
    kernel = ensure_uml()
    python = guest_python(LAB_ENGINE=str(build_engine(kernel)))
    machine = UserModeLinux(kernel, processors()[-1], limit=hours * 3600)
    return machine.run([*python, "-m", parser.prog, *sys.argv[1:]])
