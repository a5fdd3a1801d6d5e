# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel log as /dev/kmsg gives it (Documentation/ABI/testing/dev-kmsg)."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from flowguard.core.records import mutable

PATH = "/dev/kmsg"
# The kernel's own limit (CONSOLE_EXT_LOG_MAX); a smaller buffer loses the record.
RECORD_BYTES = 8192

# So many records at a time, then whatever else waits in the loop has its turn: each may be a
# fault that is written down.
BATCH = 32
RECORDS_MOST = 100_000
"""More than any ring holds."""

_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_KERNEL_PRIORITIES = 8


@mutable
class KmsgRecord:
    """A record as read; not frozen, because that costs time on every line of a flood.

    `device_id` is the dictionary's DEVICE: `n<ifindex>`, `+<bus>:<name>`, `c<major>:<minor>`.
    `continues` says that the text belongs to the end of the record before.
    """

    sequence: int
    time: float
    kernel: bool
    text: str
    caller: str = ""
    device_id: str = ""
    continues: bool = False


def parse(data: bytes) -> KmsgRecord | None:
    """One record; None when it is none, which no kernel ever sent."""
    header, separator, body = data.decode("utf-8", "replace").partition(";")
    priority, sequence, microseconds, *rest = [*header.split(","), "", ""]
    text, _, dictionary = body.partition("\n")
    try:
        record = KmsgRecord(
            int(sequence),
            int(microseconds) / 1e6,
            int(priority) < _KERNEL_PRIORITIES,
            _unescape(text) if "\\x" in text else text,
        )
    except ValueError:
        return None
    if dictionary:
        record.device_id = _device_id(dictionary)
    if rest[0] != "-" or len(rest) > 3:
        record.caller = _caller(rest)
        record.continues = rest[0] == "c"
    return record if separator else None


def netdev_of(device_id: str) -> str | None:
    """The one netdev of a device as the dictionary names it; None for none or several."""
    try:
        if device_id.startswith("n"):
            return socket.if_indextoname(int(device_id[1:]))
        if device_id.startswith("+"):
            bus, _, name = device_id[1:].partition(":")
            if "/" in device_id or not name:
                return None
            netdevs = os.listdir(f"/sys/bus/{bus}/devices/{name}/net")
            return netdevs[0] if len(netdevs) == 1 else None
    except (OSError, ValueError):
        return None
    return None


def newest(path: str = PATH) -> int | None:
    """The sequence number of the newest record; None when the log is empty."""
    found = None
    for record in _records(path):
        sequence = _sequence(record)
        found = found if sequence is None else sequence
    return found


def recent(most: int, path: str = PATH) -> list[bytes]:
    """The newest records, the oldest first."""
    # In a flood there is no end to them.
    return list(deque(islice(_records(path), RECORDS_MOST), most))


def _records(path: str) -> Iterator[bytes]:
    """All that there are, from the oldest on."""
    descriptor = _open(path)
    try:
        while True:
            try:
                record = os.read(descriptor, RECORD_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _PASSED_OVER:
                    raise
                continue
            if not record:
                return
            yield record
    finally:
        os.close(descriptor)


class LogWatch:
    """Hands on the records after the one numbered `after`, or with None those to come.

    `took` gets them as they are, up to BATCH at a time. `failed` hears once why there will
    be no more.
    """

    def __init__(
        self,
        after: int | None,
        took: Callable[[list[bytes]], None],
        failed: Callable[[str], None],
        descriptor: int | None = None,
    ) -> None:
        """Reads on the running loop; raises OSError when the log cannot be opened.

        It reads the `descriptor`, where there is one already, and closes it at the end.
        """
        self._after = after
        self._took = took
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._descriptor = _open_at(after) if descriptor is None else descriptor
        self._loop.add_reader(self._descriptor, self._read)

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        records: list[bytes] = []
        why = ""
        for _ in range(BATCH):
            try:
                record = os.read(self._descriptor, RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _PASSED_OVER:
                    continue
                why = error.strerror or str(error)
                break
            if not record:
                why = "it ended"
                break
            if self._is_new(record):
                records.append(record)
        if why:
            self.close()
        if records:
            self._took(records)
        if why:
            self._failed(why)

    def _is_new(self, record: bytes) -> bool:
        if self._after is None:
            return True
        sequence = _sequence(record)
        if sequence is None or sequence <= self._after:
            return False
        self._after = None  # All others are newer.
        return True


# EPIPE: overwritten before it was read. EINVAL: too long, and passed over. The numbers of
# the records that follow tell how many are missing.
_PASSED_OVER = (errno.EPIPE, errno.EINVAL)


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _open_at(after: int | None) -> int:
    """At the oldest record when there was one before, else after the newest."""
    descriptor = _open(PATH)
    os.lseek(descriptor, 0, os.SEEK_END if after is None else os.SEEK_SET)
    return descriptor


def _sequence(record: bytes) -> int | None:
    try:
        return int(record.split(b",", 2)[1])
    except (ValueError, IndexError):
        return None


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _caller(fields: list[str]) -> str:
    for field in fields:
        if field.startswith("caller="):
            return field[7:]
    return ""


def _device_id(dictionary: str) -> str:
    for line in dictionary.split("\n"):
        if line.startswith(" DEVICE="):
            return line[8:]
    return ""
