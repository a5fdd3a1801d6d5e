# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests share."""

from __future__ import annotations

import os

if not os.environ.get("LAB_ROUTER"):
    from hypothesis import settings

    # A busy machine is no failure: how long an example takes says nothing about the code.
    settings.register_profile("flowguard", deadline=None)
    settings.load_profile("flowguard")
