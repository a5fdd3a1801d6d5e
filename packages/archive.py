# SPDX-License-Identifier: GPL-2.0-or-later
"""Archives that are the same bytes whoever builds them: sorted, owned by root, of one time."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its absolute path where it is installed, its permissions and its content."""

    path: str
    mode: int
    content: bytes


def folders(entries: Iterable[Entry]) -> list[str]:
    """The folders that the entries are in, without the root and without a leading slash."""
    found: set[str] = set()
    for entry in entries:
        parts = entry.path.strip("/").split("/")[:-1]
        found.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    return sorted(found)


def tar_gz(entries: Iterable[Entry], time: int, root: str = ".") -> bytes:
    """Everything below `root`, with its folders; `time` is in seconds since 1970."""
    entries = sorted(entries, key=lambda entry: entry.path)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in ("", *folders(entries)):
            header = _header(f"{root}/{folder}", 0o755, time)
            header.type = tarfile.DIRTYPE
            tar.addfile(header)
        for entry in entries:
            header = _header(f"{root}/{entry.path.lstrip('/')}", entry.mode, time)
            header.size = len(entry.content)
            tar.addfile(header, io.BytesIO(entry.content))
    return gz(buffer.getvalue())


def gz(content: bytes) -> bytes:
    """The same bytes on every Python: which of them names the system differs (RFC 1952, OS)."""
    made = gzip.compress(content, mtime=0)
    return made[:9] + b"\xff" + made[10:]


def _header(name: str, mode: int, time: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.mode, header.mtime = mode, time
    header.uname = header.gname = "root"
    return header


def ar(entries: Iterable[Entry], time: int) -> bytes:
    """In the order given; names of at most 15 characters (ar(5))."""
    parts = [b"!<arch>\n"]
    for entry in entries:
        size = len(entry.content)
        header = f"{entry.path:<16}{time:<12}{0:<6}{0:<6}{0o100000 | entry.mode:<8o}{size:<10}`\n"
        parts += [header.encode(), entry.content, b"\n" * (size % 2)]
    return b"".join(parts)
