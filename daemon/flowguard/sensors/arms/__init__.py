# SPDX-License-Identifier: GPL-2.0-or-later
"""Both arms of flows: who is followed, and how they fare."""
