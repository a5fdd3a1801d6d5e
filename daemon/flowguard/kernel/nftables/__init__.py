# SPDX-License-Identifier: GPL-2.0-or-later
"""nf_tables: transactions, our tables as the kernel has them, and their changes."""
