# SPDX-License-Identifier: GPL-2.0-or-later
"""Optional eyes into the packet engine of a system on chip."""
