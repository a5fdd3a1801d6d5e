# SPDX-License-Identifier: GPL-2.0-or-later
"""What the boundary's calls take, in seconds on a router ten times slower than a PC.

The first part holds up the program's loop, the second lets only the caller wait.
"""

from __future__ import annotations

FILE_READ = 0.0004
FILE_WRITE = 0.001
SYSCTL = 0.0002
DEVICE_SCAN = 0.001
"""For each device there is."""
ROUTE = 0.0002
ETHTOOL = 0.0003
LOG_SEARCH = 0.01
LOG_RECORDS = 0.00002
"""For each record handed over, and its first reading."""
ENTRY = 0.00003
"""For each connection or engine entry handed over."""
DUMPS = 0.02

FLASH_SYNC = (0.02, 0.8)
TABLES_READ = (0.002, 0.02)
SWEEP_PART = (0.0005, 0.01)
LOOK_UP = (0.0005, 0.005)
ENGINE_PART = (0.002, 0.05)
NEWS = (0.0002, 0.003)
"""From something that happens in the kernel to the program's wake-up."""
TABLES_NEWS = 0.05
NETWORK_NEWS = 0.1
