# SPDX-License-Identifier: GPL-2.0-or-later
"""Where log lines go: a terminal, the journal's stderr, or syslog with true levels."""

from __future__ import annotations

import logging
import os
import sys
import syslog

_PRIORITIES = (
    (logging.ERROR, syslog.LOG_ERR),
    (logging.WARNING, syslog.LOG_WARNING),
    (logging.INFO, syslog.LOG_INFO),
)


def _priority(level: int) -> int:
    return next((p for least, p in _PRIORITIES if level >= least), syslog.LOG_DEBUG)


class _SyslogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        syslog.syslog(_priority(record.levelno), self.format(record))


class _JournalFormatter(logging.Formatter):
    """Prefixes the level as sd-daemon(3) reads it from a service's stderr."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_priority(record.levelno)}>{super().format(record)}"


def set_up(level: str) -> None:
    """Configure the root logger: `level` is debug, info, warning or error."""
    handler: logging.Handler
    if "JOURNAL_STREAM" in os.environ:
        handler = logging.StreamHandler()
        handler.setFormatter(_JournalFormatter("%(message)s"))
    elif sys.stderr.isatty() or not os.path.exists("/dev/log"):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("flowguard: %(message)s"))
    else:
        syslog.openlog("flowguard", syslog.LOG_PID, syslog.LOG_DAEMON)
        handler = _SyslogHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
