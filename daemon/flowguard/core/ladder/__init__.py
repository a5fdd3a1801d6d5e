# SPDX-License-Identifier: GPL-2.0-or-later
"""Up and down the levels: verdicts, hold-offs, canaries, boots, and what people ask for."""
