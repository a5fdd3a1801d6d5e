# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are either the old or the new one, whatever happens in between."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any


def replace_file(
    path: str, text: str, *, durable: bool = False, system: ModuleType | Any = os
) -> None:
    """Write a temporary file and rename it over `path`; OSError leaves the old file.

    `durable` also waits until the file's content and then its name are on the medium: a
    rename that overtakes the content leaves an empty file after a power cut. A file on tmpfs
    has no use for that. `system` carries the operations out, as the module os does.
    """
    temporary = f"{path}.new"
    flags = system.O_WRONLY | system.O_CREAT | system.O_TRUNC
    file = system.open(temporary, flags, 0o600)
    try:
        rest = text.encode()
        while rest:
            rest = rest[system.write(file, rest) :]
        if durable:
            system.fsync(file)
    except OSError:
        system.close(file)
        system.unlink(temporary)
        raise
    system.close(file)
    system.replace(temporary, path)
    if durable:
        _sync_folder(os.path.dirname(path) or ".", system)


def _sync_folder(path: str, system: ModuleType | Any) -> None:
    folder = system.open(path, system.O_RDONLY | system.O_DIRECTORY)
    try:
        system.fsync(folder)
    finally:
        system.close(folder)
