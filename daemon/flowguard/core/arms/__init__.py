# SPDX-License-Identifier: GPL-2.0-or-later
"""Comparing two arms of flows: how an arm is drawn, the sequential test, and what follows."""
