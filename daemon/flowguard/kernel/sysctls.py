# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers below /proc/sys."""

from __future__ import annotations

import os


class LinuxSysctls:
    """See `kernel.machine.Sysctls`."""

    def __init__(self, proc: str = "/proc/sys") -> None:
        self._proc = proc

    def get(self, name: str) -> int | None:
        try:
            with open(os.path.join(self._proc, name), encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def set(self, name: str, value: int) -> None:
        with open(os.path.join(self._proc, name), "w", encoding="ascii") as file:
            file.write(f"{value}\n")
