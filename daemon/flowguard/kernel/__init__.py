# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that the kernel says and takes; nothing outside touches the system."""
