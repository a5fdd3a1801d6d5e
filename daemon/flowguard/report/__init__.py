# SPDX-License-Identifier: GPL-2.0-or-later
"""`flowguard report`: what the machine, the daemon and the kernel say, with all names masked."""
