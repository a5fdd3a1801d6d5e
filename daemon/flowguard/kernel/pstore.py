# SPDX-License-Identifier: GPL-2.0-or-later
"""What crashes left in persistent storage (Documentation/admin-guide/pstore-blk.rst, ramoops.rst).

The kernel shows one file a record, `dmesg-BACKEND-ID` or `console-BACKEND-ID`, with
`.enc.z` behind it where it could not decompress (fs/pstore/inode.c). A small medium takes
a dump in parts, the newest text in part 1, each beginning with a line like "Panic#2 Part1"
(fs/pstore/platform.c). systemd-pstore moves the files into folders of its own.
"""

from __future__ import annotations

import os
import re
from binascii import crc32
from collections.abc import Iterator, Sequence

from flowguard.core.records import frozen

FOLDERS = ("/sys/fs/pstore", "/var/lib/systemd/pstore")
BACKEND = "/sys/module/pstore/parameters/backend"
CRASHES = ("Panic", "Oops", "Emergency")
# systemd-pstore: one folder for each crash, one more for each of its dumps.
DEPTH = 2
# Records are 4 to 256 KiB as a rule; what is larger or more is not ours to keep in memory.
LARGEST = 1 << 20
MOST = 64

_NAME = re.compile(r"(?P<kind>dmesg|console)-(?P<backend>[\w-]+)-(?P<id>\d+)(?P<coded>\.enc\.z)?")
# The medium's own header stays in front of it where a backend adds one (fs/pstore/zone.c).
_HEADER = re.compile(r"^(?P<reason>[A-Z][a-z]+)#(?P<count>\d+) Part(?P<part>\d+)$", re.MULTILINE)
_HEADER_WITHIN = 200
# The formats that kernels have written: raw deflate (since 4.20), zlib with its header.
_WINDOWS = (-15, 15)
_INFLATE_STEP = 256


@frozen
class Dump:
    """The text of one crash, or of the previous boot's console, oldest line first.

    `reason` is the kernel's word for why it was written (kmsg_dump_reason_str), empty for
    a console. `identities` tell its files from others, on every boot and wherever they are
    moved.
    """

    name: str
    reason: str
    text: str
    identities: tuple[str, ...]

    @property
    def is_crash(self) -> bool:
        """False for what is written at planned reboots too (printk.always_kmsg_dump)."""
        return self.reason in CRASHES


@frozen
class Dumps:
    """All dumps that could be read, and in words what could not."""

    dumps: tuple[Dump, ...]
    problems: tuple[str, ...]


@frozen
class _Record:
    kind: str
    backend: str
    id: int
    name: str
    text: str
    identity: str

    @property
    def header(self) -> re.Match[str] | None:
        return _HEADER.search(self.text, 0, _HEADER_WITHIN) if self.kind == "dmesg" else None

    @property
    def body(self) -> str:
        return self.text[self.header.end() + 1 :] if self.header else self.text


def read(folders: Sequence[str] = FOLDERS) -> Dumps:
    """Every dump below the folders; a folder that is not there holds none."""
    problems: list[str] = []
    records: dict[str, _Record] = {}
    for path in _newest(folders, problems):
        try:
            record = _read(path)
        except (OSError, _Undecodable) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            problems.append(f"{path}: {reason}")
        else:
            records.setdefault(record.identity, record)
    ordered = sorted(records.values(), key=lambda r: (r.kind, r.backend, r.id))
    return Dumps(tuple(map(_joined, _grouped(ordered))), tuple(problems))


def missing(folder: str = FOLDERS[0], backend: str = BACKEND) -> str:
    """Why this system keeps no crash dumps, in words; empty where it does."""
    if not os.path.isdir(folder):
        return "the kernel has no pstore"
    try:
        with open(backend, encoding="ascii") as file:
            if file.read().strip() in ("", "(null)"):
                return "pstore has no medium (ramoops needs reserved memory)"
    except OSError:
        return ""
    return "" if os.path.ismount(folder) else f"nothing is mounted at {folder}"


def told(found: Dumps, folder: str = FOLDERS[0], backend: str = BACKEND) -> str:
    """How this source of evidence does, in words."""
    if found.problems:
        return "; ".join(found.problems)
    if not found.dumps and (reason := missing(folder, backend)):
        return f"not available: {reason}"
    return f"ok, {len(found.dumps)} crash dumps"


def clear(folders: Sequence[str] = FOLDERS) -> tuple[str, ...]:
    """Delete every record below the folders, which frees the medium; returns the problems."""
    problems: list[str] = []
    for path in list(_files(folders, problems)):
        try:
            os.unlink(path)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    return tuple(problems)


def _newest(folders: Sequence[str], problems: list[str]) -> list[str]:
    paths = list(_files(folders, problems))
    if len(paths) > MOST:
        paths = sorted(paths, key=_modified, reverse=True)[:MOST]
    return paths


def _files(folders: Sequence[str], problems: list[str]) -> Iterator[str]:
    """The records, the kernel's own folder first."""
    for folder in folders:
        yield from _below(folder, DEPTH, problems)


def _below(folder: str, depth: int, problems: list[str]) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{folder}: {error.strerror}")
        return
    for entry in entries:
        if depth and entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, depth - 1, problems)
        elif _NAME.fullmatch(entry.name):
            yield entry.path


def _modified(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _read(path: str) -> _Record:
    name = os.path.basename(path)
    found = _NAME.fullmatch(name)
    assert found
    with open(path, "rb") as file:
        if found["kind"] == "console":
            # Its end is what counts.
            file.seek(max(0, os.fstat(file.fileno()).st_size - LARGEST))
        data = file.read(LARGEST)
    identity = f"{name}:{len(data)}:{crc32(data):08x}"
    text = _inflate(data) if found["coded"] else data.decode("utf-8", "replace")
    return _Record(found["kind"], found["backend"], int(found["id"]), name, text, identity)


class _Undecodable(Exception):
    pass


def _inflate(data: bytes) -> str:
    """As much of the text as its damage leaves."""
    try:
        import zlib
    except ImportError as error:
        raise _Undecodable("is compressed, and this Python has no zlib") from error
    for window in _WINDOWS:
        stream = zlib.decompressobj(window)
        inflated = b""
        for start in range(0, len(data), _INFLATE_STEP):
            try:
                step = data[start : start + _INFLATE_STEP]
                inflated += stream.decompress(step, LARGEST - len(inflated))
            except zlib.error:
                break
            if stream.eof or len(inflated) >= LARGEST:
                break
        text = inflated.decode("utf-8", "replace")
        if _HEADER.search(text, 0, _HEADER_WITHIN):
            return text
    raise _Undecodable("cannot be decompressed")


def _grouped(records: Sequence[_Record]) -> list[list[_Record]]:
    """The parts of each crash together; identifiers rise with the part within one."""
    groups: list[list[_Record]] = []
    for record in records:
        if groups and _continues(groups[-1][-1], record):
            groups[-1].append(record)
        else:
            groups.append([record])
    return groups


def _continues(before: _Record, record: _Record) -> bool:
    first, second = before.header, record.header
    if not first or not second or before.backend != record.backend:
        return False
    same = (first["reason"], first["count"]) == (second["reason"], second["count"])
    return same and int(second["part"]) > int(first["part"])


def _joined(parts: Sequence[_Record]) -> Dump:
    header = parts[0].header
    text = "\n".join(part.body for part in reversed(parts))
    identities = tuple(part.identity for part in parts)
    return Dump(parts[0].name, header["reason"] if header else "", text, identities)
