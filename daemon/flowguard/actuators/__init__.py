# SPDX-License-Identifier: GPL-2.0-or-later
"""What changes the kernel, the flash, or tells people."""
