# SPDX-License-Identifier: GPL-2.0-or-later
"""Pure decisions: no I/O, no clock, no globals. Everything here can be replayed."""
