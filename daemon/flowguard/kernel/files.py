# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that are either the old or the new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

FOR_ROOT_ONLY = 0o600


def replace_file(
    path: str, text: str, *, durable: bool = False, system: ModuleType | Any = os
) -> None:
    """Write a temporary file and rename it over `path`; OSError leaves the old file.

    `durable` also waits until the file's content and then its name are on the medium: a
    rename that overtakes the content leaves an empty file after a power cut. A file on tmpfs
    has no use for that. `system` carries the operations out, as the module os does.
    """
    rest = text.encode()
    temporary = f"{path}.new"
    flags = system.O_WRONLY | system.O_CREAT | system.O_TRUNC
    file = system.open(temporary, flags, FOR_ROOT_ONLY)
    try:
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


class LinuxFiles:
    """See `kernel.machine.Files`; `system` carries the writing out, as the module os does."""

    def __init__(self, system: ModuleType | Any = os) -> None:
        self._system = system
        self._keeping: asyncio.Lock | None = None

    def read(self, path: str) -> str:
        with open(path, encoding="utf-8") as file:
            return file.read()

    def read_escaped(self, path: str) -> str:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def replace(self, path: str, text: str) -> None:
        _make_folder(path)
        replace_file(path, text, system=self._system)

    async def keep(self, path: str, text: str) -> None:
        """One after the other, in the order of the calls."""
        # Only here, as the daemon's first steps have no room for asyncio (service/life.py).
        from asyncio import Lock

        from flowguard.kernel.threads import in_thread

        self._keeping = keeping = self._keeping or Lock()
        await keeping.acquire()
        await in_thread(partial(self._keep, path, text), "keep", keeping.release)

    def append(self, path: str, text: str) -> int:
        _make_folder(path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with open(os.open(path, flags, FOR_ROOT_ONLY), "a", encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                os.fchmod(file.fileno(), FOR_ROOT_ONLY)
            file.write(text)
            file.flush()
            return os.fstat(file.fileno()).st_size

    def rename(self, path: str, to: str) -> None:
        # An older version may have left it readable for all.
        os.chmod(path, FOR_ROOT_ONLY)
        os.replace(path, to)

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _keep(self, path: str, text: str) -> None:
        _make_folder(path)
        replace_file(path, text, durable=True, system=self._system)


def _make_folder(path: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
