# SPDX-License-Identifier: GPL-2.0-or-later
"""Netlink: its wire format and its sockets."""
