# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the hardware watchdog caused this boot, where anything tells."""

from __future__ import annotations

import os
import re

FOLDER = "/sys/class/watchdog"
KMSG = "/dev/kmsg"
# include/uapi/linux/watchdog.h: "Card previously reset the CPU".
WDIOF_CARDRESET = 0x20

# OpenWrt holds the device itself, asks it at boot and writes this into the kernel's log
# (procd's watchdog.c, as `init` before the root file system and as `procd` after it).
_PROCD = re.compile(rb"^[^;]*;(?:init|procd): Watchdog has previously reset the system")
_RECORD_BYTES = 8192
_MOST_RECORDS = 20000


def caused_reset(folder: str = FOLDER, kmsg: str = KMSG) -> bool | None:
    """None where nothing tells: many drivers never report it, so "no" is no proof."""
    answers = _bootstatus(folder)
    if any(status & WDIOF_CARDRESET for status in answers) or _procd_says_so(kmsg):
        return True
    return False if answers else None


def _bootstatus(folder: str) -> list[int]:
    """What each watchdog says (Documentation/ABI/testing/sysfs-class-watchdog)."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    found = []
    for name in names:
        try:
            with open(os.path.join(folder, name, "bootstatus"), encoding="ascii") as file:
                found.append(int(file.read()))
        except (OSError, ValueError):
            continue  # This one does not tell (CONFIG_WATCHDOG_SYSFS is off in OpenWrt).
    return found


def _procd_says_so(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        for _ in range(_MOST_RECORDS):
            try:
                record = os.read(descriptor, _RECORD_BYTES)
            except BrokenPipeError:
                continue  # Overwritten while we read: the next one is still there.
            if not record:
                return False
            if _PROCD.match(record):
                return True
    except OSError:  # BlockingIOError above all: that was the newest record.
        return False
    finally:
        os.close(descriptor)
    return False
