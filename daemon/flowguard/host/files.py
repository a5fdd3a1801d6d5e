# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are either the old or the new one, whatever happens in between."""

from __future__ import annotations

import os


def replace_file(path: str, text: str, *, durable: bool = False) -> None:
    """Write a temporary file and rename it over `path`.

    `durable` also waits until file and folder are on the medium; a file on tmpfs has no
    use for that.
    """
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)
    if durable:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
