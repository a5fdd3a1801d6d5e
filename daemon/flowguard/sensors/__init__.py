# SPDX-License-Identifier: GPL-2.0-or-later
"""Each module turns one source of the system into events."""
