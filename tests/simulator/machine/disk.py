# SPDX-License-Identifier: GPL-2.0-or-later
"""Files on flash and on tmpfs, and what a power cut leaves of them."""

from __future__ import annotations

import errno
import os
from random import Random

TMPFS = ("/var/run/", "/run/", "/tmp/", "/sys/", "/proc/")


class Medium:
    """One file system. `error` refuses whatever writes; `kept` is what a power cut leaves.

    Of a file in `whole` the text is on the medium, if perhaps not yet under this name.
    A file is kept as the pieces that were appended to it: logs are long.
    """

    def __init__(self) -> None:
        self.error: int | None = None
        self.kept: dict[str, str] = {}
        self.whole: set[str] = set()
        self._pieces: dict[str, list[str]] = {}
        self._sizes: dict[str, int] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._pieces

    def paths(self) -> set[str]:
        return set(self._pieces)

    def text(self, path: str) -> str | None:
        pieces = self._pieces.get(path)
        return None if pieces is None else "".join(pieces)

    def put(self, path: str, text: str) -> None:
        self.whole.discard(path)
        self._pieces[path] = [text]
        self._sizes[path] = len(text.encode("utf-8", "surrogateescape"))

    def add(self, path: str, text: str) -> int:
        self.whole.discard(path)
        self._pieces.setdefault(path, []).append(text)
        self._sizes[path] = self._sizes.get(path, 0) + len(text)
        return self._sizes[path]

    def drop(self, path: str) -> None:
        self.whole.discard(path)
        self._pieces.pop(path, None)
        self._sizes.pop(path, None)

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
        text = self.medium(path).text(path)
        if text is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return text

    def exists(self, path: str) -> bool:
        return path in self.medium(path)

    def write(self, path: str, text: str) -> None:
        """Seen at once; on flash it is lost, or torn, when the power goes."""
        medium = self.medium(path)
        medium.refuse(path)
        medium.put(path, text)

    def append(self, path: str, text: str) -> int:
        medium = self.medium(path)
        medium.refuse(path)
        return medium.add(path, text)

    def rename(self, path: str, to: str) -> None:
        text = self.read(path)
        medium = self.medium(path)
        if medium.error == errno.EROFS:
            medium.refuse(path)
        is_whole = path in medium.whole
        medium.drop(path)
        self.medium(to).put(to, text)
        if is_whole:
            medium.whole.add(to)

    def remove(self, path: str) -> None:
        medium = self.medium(path)
        if path in medium:
            if medium.error == errno.EROFS:
                medium.refuse(path)
            medium.drop(path)

    def sync(self, path: str) -> None:
        """The file and its name are on the medium for good."""
        medium = self.medium(path)
        text = medium.text(path)
        if text is None:
            medium.kept.pop(path, None)
        else:
            medium.kept[path] = text
            medium.whole.add(path)

    def write_back(self) -> None:
        """What the kernel does by itself after a while."""
        for path in sorted(self.flash.paths() | set(self.flash.kept)):
            self.sync(path)

    def lose_power(self) -> None:
        """What was not synced is old, new, or an empty file (a rename that overtook)."""
        former = self.flash
        self.flash, self.tmpfs = Medium(), Medium()
        for path in sorted(former.paths() | set(former.kept)):
            new, old = former.text(path), former.kept.get(path)
            choices = [new] if new == old else [new, old]
            if new is not None and path not in former.whole:
                choices.append("")
            text = self._random.choice(choices)
            if text is not None:
                self.flash.put(path, text)
                self.sync(path)

    def shut_down(self) -> None:
        """A reboot in order: everything is synced before."""
        self.write_back()
        self.tmpfs = Medium()
