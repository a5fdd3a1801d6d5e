# SPDX-License-Identifier: GPL-2.0-or-later
"""rtnetlink and sysfs: links, addresses, neighbours and routes."""
