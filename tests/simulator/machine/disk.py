# SPDX-License-Identifier: GPL-2.0-or-later
"""Files on flash and on tmpfs, and what a power cut leaves of them."""

from __future__ import annotations

import errno
import os
from random import Random

TMPFS = ("/var/run/", "/run/", "/tmp/", "/sys/", "/proc/")


class Medium:
    """One file system. `error` refuses whatever writes; `kept` is what a power cut leaves."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.files: dict[str, str] = {}
        self.kept: dict[str, str] = {}

    def refuse(self, path: str) -> None:
        if self.error:
            raise OSError(self.error, os.strerror(self.error), path)


class Disk:
    """By path, on `flash` or `tmpfs`; unreadable paths raise what `unreadable` says."""

    def __init__(self, random: Random) -> None:
        self.flash = Medium()
        self.tmpfs = Medium()
        self.unreadable: dict[str, int] = {}
        self._random = random

    def medium(self, path: str) -> Medium:
        return self.tmpfs if path.startswith(TMPFS) else self.flash

    def read(self, path: str) -> str:
        if number := self.unreadable.get(path):
            raise OSError(number, os.strerror(number), path)
        files = self.medium(path).files
        if path not in files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return files[path]

    def exists(self, path: str) -> bool:
        return path in self.medium(path).files

    def write(self, path: str, text: str) -> None:
        """Seen at once; on flash it is lost, or torn, when the power goes."""
        medium = self.medium(path)
        medium.refuse(path)
        medium.files[path] = text

    def append(self, path: str, text: str) -> int:
        medium = self.medium(path)
        medium.refuse(path)
        medium.files[path] = medium.files.get(path, "") + text
        return len(medium.files[path].encode())

    def rename(self, path: str, to: str) -> None:
        text = self.read(path)
        medium = self.medium(path)
        if medium.error == errno.EROFS:
            medium.refuse(path)
        del medium.files[path]
        self.medium(to).files[to] = text

    def remove(self, path: str) -> None:
        medium = self.medium(path)
        if path in medium.files:
            if medium.error == errno.EROFS:
                medium.refuse(path)
            del medium.files[path]

    def sync(self, path: str) -> None:
        """The file and its name are on the medium for good."""
        medium = self.medium(path)
        if path in medium.files:
            medium.kept[path] = medium.files[path]
        else:
            medium.kept.pop(path, None)

    def write_back(self) -> None:
        """What the kernel does by itself after a while."""
        self.flash.kept = dict(self.flash.files)

    def lose_power(self) -> None:
        """What was not synced is old, new, or an empty file (a rename that overtook)."""
        flash = self.flash
        left: dict[str, str] = {}
        for path in sorted({*flash.files, *flash.kept}):
            new, old = flash.files.get(path), flash.kept.get(path)
            if new == old:
                choice = new
            elif old is None or new is None:
                choice = self._random.choice((new, old))
            else:
                choice = self._random.choice((new, old, ""))
            if choice is not None:
                left[path] = choice
        flash.files, flash.kept = left, dict(left)
        self.tmpfs = Medium()

    def shut_down(self) -> None:
        """A reboot in order: everything is synced before."""
        self.write_back()
        self.tmpfs = Medium()
