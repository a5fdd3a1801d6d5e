# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios run inside the lab router, or switch it on and off (`python -m tests.lab`).

The other tests here run anywhere.
"""

import os

_RUNS = {"scenarios": "LAB_ROUTER", "reboots": "LAB_REBOOTS"}

collect_ignore = [name for name, switch in _RUNS.items() if switch not in os.environ]
