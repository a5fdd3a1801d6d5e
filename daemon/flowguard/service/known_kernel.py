# SPDX-License-Identifier: GPL-2.0-or-later
"""What `flowguard check` knows of the running kernel, as far as the policy has to know it too."""

from __future__ import annotations

import sys

from flowguard.core.events import KernelKnown
from flowguard.kernel.machine import Machine

_ROOM = "flowguard.checks"


def known(machine: Machine) -> KernelKnown:
    """Asked once a life."""
    was_loaded = _ROOM in sys.modules
    from flowguard.checks import known_kernels

    found = KernelKnown(machine.clock.now(), known_kernels.software_drops(machine))
    if not was_loaded:
        _forget()
    return found


def _forget() -> None:
    """They are a hundred kilobytes, and seldom asked for again."""
    for name in [name for name in sys.modules if name.startswith(_ROOM)]:
        del sys.modules[name]
    package, _, room = _ROOM.partition(".")
    delattr(sys.modules[package], room)
