# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop that runs the core, and what can be asked of it."""
