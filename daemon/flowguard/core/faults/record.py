# SPDX-License-Identifier: GPL-2.0-or-later
"""One line of the kernel's log, wherever it was read."""

from __future__ import annotations

from flowguard.core.records import frozen


@frozen
class LogRecord:
    """A line without the decoration of its transport.

    `time` is the kernel's own stamp in seconds since boot, None where the text has none.
    `kernel` is False for lines that a program wrote, which prove nothing about the kernel.
    `device` is the netdev that the record's dictionary names (printk's dev_printk_info).
    `caller` tells the lines of concurrent CPUs apart (CONFIG_PRINTK_CALLER), else empty.
    """

    text: str
    time: float | None = None
    kernel: bool = True
    device: str | None = None
    caller: str = ""
