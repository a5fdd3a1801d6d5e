# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk with a cache that may lose power after any operation.

What was not synchronised may be there, in part or not at all: file contents (also as zeros,
where the size got out and the data did not) and, in their order, changes of names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product


class PowerCut(BaseException):
    """No handler of the program runs after this."""


@dataclass
class _File:
    content: bytes = b""
    durable: bytes = b""

    def survivors(self) -> list[bytes]:
        if self.content == self.durable:
            return [self.content]
        half = self.content[: len(self.content) // 2]
        return [self.durable, half, bytes(len(self.content)), self.content]


@dataclass
class Disk:
    """Takes the place of the module os; the power fails before operation `fails_at`."""

    names: dict[str, _File] = field(default_factory=dict)
    fails_at: int | None = None
    operations: int = 0
    fsyncs_work: bool = True
    _durable_names: dict[str, _File] = field(default_factory=dict)
    _renames: list[tuple[str, str | None, _File | None]] = field(default_factory=list)
    _open: dict[int, _File | None] = field(default_factory=dict)

    O_WRONLY, O_CREAT, O_TRUNC = os.O_WRONLY, os.O_CREAT, os.O_TRUNC
    O_RDONLY, O_DIRECTORY = os.O_RDONLY, os.O_DIRECTORY

    def __post_init__(self) -> None:
        self._durable_names = dict(self.names)

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        self._step()
        number = len(self._open) + 1
        if flags & self.O_DIRECTORY:
            self._open[number] = None
            return number
        file = self.names.get(path)
        if file is None:
            file = self.names[path] = _File()
            self._renames.append((path, None, file))
        file.content = b""
        self._open[number] = file
        return number

    def write(self, number: int, data: bytes) -> int:
        self._step()
        file = self._open[number]
        assert file is not None
        part = data[: max(1, len(data) // 2)]
        file.content += part
        return len(part)

    def fsync(self, number: int) -> None:
        self._step()
        if not self.fsyncs_work:
            return
        file = self._open[number]
        if file is None:
            self._durable_names = dict(self.names)
            self._renames.clear()
        else:
            file.durable = file.content

    def close(self, number: int) -> None:
        self._step()

    def replace(self, source: str, target: str) -> None:
        self._step()
        file = self.names.pop(source)
        self.names[target] = file
        self._renames.append((target, source, file))

    def unlink(self, path: str) -> None:
        self._step()
        self.names.pop(path)
        self._renames.append((path, None, None))

    def _step(self) -> None:
        if self.operations == self.fails_at:
            raise PowerCut
        self.operations += 1

    def after_the_cut(self) -> Iterator[dict[str, bytes]]:
        """Every content that the disk may have when it is read again; the cache's is one."""
        yield {path: file.content for path, file in self.names.items()}
        for kept in range(len(self._renames) + 1):
            names = dict(self._durable_names)
            for target, source, file in self._renames[:kept]:
                if source:
                    names.pop(source, None)
                names.pop(target, None)
                if file:
                    names[target] = file
            choices = [file.survivors() for file in names.values()]
            for contents in product(*choices):
                yield dict(zip(names, contents, strict=True))


def stored(path: str, content: bytes) -> Disk:
    """A disk with one file, safely stored."""
    return Disk({path: _File(content, content)})
