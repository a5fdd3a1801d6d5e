# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration: its options, each stated once."""
