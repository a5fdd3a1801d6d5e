# SPDX-License-Identifier: GPL-2.0-or-later
"""Which installation of the system this is.

A backup is restored by sysupgrade after flashing, and by people whenever they like. What it
remembers of devices is true, but how the last boot ended is another installation's story. So
a file beside the state, which no backup holds, says which installation it is.
"""

from __future__ import annotations

import os

from flowguard.kernel.machine import Files

NAME = "installation"


async def installation(files: Files, directory: str, boot_id: str) -> str:
    """Its identity: the first boot in which flowguard ran; "" when nothing can be kept."""
    path = os.path.join(directory, NAME)
    try:
        return files.read(path).strip()
    except FileNotFoundError:
        pass
    except (OSError, ValueError):
        return ""  # The state beside it will be as unreadable, and that is told.
    try:
        await files.keep(path, boot_id + "\n")
    except OSError:
        return ""  # Nor can the state be saved, and that is told.
    return boot_id
