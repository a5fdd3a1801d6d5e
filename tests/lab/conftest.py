# SPDX-License-Identifier: GPL-2.0-or-later
"""The scenarios run inside the lab router only; the other tests here run anywhere."""

import os

collect_ignore = [] if os.environ.get("LAB_ROUTER") else ["scenarios"]
