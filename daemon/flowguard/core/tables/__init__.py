# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables that should exist, and which devices they are on."""
