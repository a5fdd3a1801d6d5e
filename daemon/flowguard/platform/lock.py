# SPDX-License-Identifier: GPL-2.0-or-later
"""One daemon at a time: two would fight over the same tables."""

from __future__ import annotations

import fcntl
import os


class AlreadyRunning(Exception):
    """Another process holds the lock; the text says which."""


def take(directory: str) -> int:
    """Lock the runtime directory for the life of this process (flock(2)).

    Returns the descriptor that holds it; raises AlreadyRunning. A killed holder's lock is
    free at once.
    """
    os.makedirs(directory, exist_ok=True)
    descriptor = os.open(
        os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise AlreadyRunning(f"another flowguard runs already (process {holder})") from None
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
