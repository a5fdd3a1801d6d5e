# SPDX-License-Identifier: GPL-2.0-or-later
"""Where log lines go: a terminal, systemd's journal, or syslog with true levels."""

from __future__ import annotations

import logging
import os
import sys
import syslog
from collections.abc import Callable

_PRIORITIES = (
    (logging.ERROR, syslog.LOG_ERR),
    (logging.WARNING, syslog.LOG_WARNING),
    (logging.INFO, syslog.LOG_INFO),
)


def fields(**values: object) -> dict[str, dict[str, str]]:
    """For `extra=` of a log call: what the journal keeps beside the message, as FLOWGUARD_*."""
    named = {f"FLOWGUARD_{k.upper()}": carried(str(v)) for k, v in values.items() if v is not None}
    return {"fields": named}


def set_up(level: str) -> str:
    """Configure the root logger: `level` is debug, info, warning or error.

    Returns what becomes of the journal's fields, for the status; "" where there is no journal.
    """
    handler: logging.Handler
    journal = ""
    if _stderr_is_the_journal():
        handler, journal = _journal()
    elif sys.stderr.isatty() or not os.path.exists("/dev/log"):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("flowguard: %(message)s"))
    else:
        syslog.openlog("flowguard", syslog.LOG_PID, syslog.LOG_DAEMON)
        handler = _SyslogHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    return journal


def carried(text: str) -> str:
    """Without what C takes for the end of a text, and what is no UTF-8 (names, kernel's lines)."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _stderr_is_the_journal() -> bool:
    """As systemd.exec(5) says to find out: children inherit the variable, but not the stream."""
    stderr = os.fstat(2)
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def _journal() -> tuple[logging.Handler, str]:
    try:
        from systemd.journal import send
    except ImportError:
        handler = logging.StreamHandler()
        handler.setFormatter(_PrefixFormatter("%(message)s"))
        return handler, "without fields: systemd-python is not installed"
    return _JournalHandler(send), "ok"


def _priority(level: int) -> int:
    return next((p for least, p in _PRIORITIES if level >= least), syslog.LOG_DEBUG)


class _SyslogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            syslog.syslog(_priority(record.levelno), carried(self.format(record)))
        except Exception:
            self.handleError(record)


class _JournalHandler(logging.Handler):
    """Entries with fields of their own, by systemd-python."""

    def __init__(self, send: Callable[..., None]) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(
                carried(self.format(record)),
                PRIORITY=_priority(record.levelno),
                SYSLOG_IDENTIFIER="flowguard",
                CODE_FILE=record.pathname,
                CODE_LINE=record.lineno,
                CODE_FUNC=record.funcName,
                **getattr(record, "fields", {}),
            )
        except Exception:
            self.handleError(record)


class _PrefixFormatter(logging.Formatter):
    """Prefixes the level as sd-daemon(3) reads it from a service's stderr."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_priority(record.levelno)}>{super().format(record)}"
