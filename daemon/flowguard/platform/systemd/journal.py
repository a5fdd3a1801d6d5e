# SPDX-License-Identifier: GPL-2.0-or-later
"""The previous boot's kernel log in systemd's journal, by systemd-python where it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from flowguard.core.faults import LogRecord
from flowguard.core.records import frozen

SYSTEMD = "/run/systemd/system"
LINES = 2000
# A boot that logged more than this before we look hides the one before it.
LINES_OF_THIS_BOOT = 20000


class NoJournal(OSError):
    """There is no previous boot's log to be had; the text says why."""


@frozen
class PreviousBoot:
    """The end of its kernel log, oldest line first."""

    boot_id: str
    records: tuple[LogRecord, ...]


def previous_boot(
    boot_id: str,
    systemd: str = SYSTEMD,
    open_reader: Callable[[], Any] | None = None,
) -> PreviousBoot:
    """The kernel messages of the boot before `boot_id`; raises NoJournal, or another OSError.

    `open_reader` returns a systemd.journal.Reader, by default the system's.
    """
    if not os.path.isdir(systemd):
        raise NoJournal("no systemd here")
    reader = (open_reader or _open_reader)()
    try:
        reader.add_match(_TRANSPORT="kernel")
        reader.seek_tail()
        return _collect(_backwards(reader), boot_id.replace("-", ""))
    finally:
        reader.close()


def _open_reader() -> Any:
    try:
        from systemd import journal
    except ImportError as error:
        raise NoJournal("systemd-python is not installed") from error
    return journal.Reader()


def _backwards(reader: Any) -> Iterator[dict[str, Any]]:
    for _ in range(LINES_OF_THIS_BOOT + LINES):
        entry = reader.get_previous()
        if not entry:
            return
        yield entry


def _collect(entries: Iterator[dict[str, Any]], this_boot: str) -> PreviousBoot:
    previous = ""
    records: list[LogRecord] = []
    for entry in entries:
        boot = str(entry.get("_BOOT_ID", "")).replace("-", "")
        if boot == this_boot:
            continue
        previous = previous or boot
        if boot != previous or len(records) == LINES:
            break
        records.append(_record(entry))
    if not records:
        raise NoJournal("the journal knows no earlier boot")
    return PreviousBoot(previous, tuple(reversed(records)))


def _record(entry: dict[str, Any]) -> LogRecord:
    message = entry.get("MESSAGE", "")
    if isinstance(message, bytes):  # No UTF-8, so the reader leaves it as it is.
        message = message.decode("utf-8", "replace")
    stamp = entry.get("_SOURCE_MONOTONIC_TIMESTAMP")
    return LogRecord(str(message), stamp.total_seconds() if stamp else None)
