# SPDX-License-Identifier: GPL-2.0-or-later
"""OpenWrt: UCI, netifd, procd, the firewall, ubus."""
