# SPDX-License-Identifier: GPL-2.0-or-later
"""Where systemd runs: its journal, and readiness."""
