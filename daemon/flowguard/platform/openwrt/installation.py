# SPDX-License-Identifier: GPL-2.0-or-later
"""Which installation of the system this is.

A backup is restored by sysupgrade after flashing, and by people whenever they like. What it
remembers of devices is true, but how the last boot ended is another installation's story. So
a file beside the state, which no backup holds, says which installation it is.
"""

from __future__ import annotations

import os

from flowguard.kernel.files import replace_file

NAME = "installation"


def installation(directory: str, boot_id: str) -> str:
    """Its identity: the first boot in which flowguard ran; "" when nothing can be kept."""
    path = os.path.join(directory, NAME)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return boot_id if _written(path, boot_id) else ""
    except (OSError, ValueError):
        return ""  # The state beside it will be as unreadable, and that is told.


def _written(path: str, boot_id: str) -> bool:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        replace_file(path, boot_id + "\n", durable=True)
    except OSError:
        return False  # Nor can the state be saved, and that is told.
    return True
