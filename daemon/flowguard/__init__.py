# SPDX-License-Identifier: GPL-2.0-or-later
"""flowguard: keeps hardware flow offloading safe on routers."""

__version__ = "0.1.0"
