# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab's kernels do differently, named once: scenarios ask here, and never for a version.

docs/kernels.md has it as a table, with what it means for a router.
"""

from __future__ import annotations

import os
import re

Release = tuple[int, ...]


def running() -> Release:
    """The numbers that this kernel's release begins with: (6, 12, 95)."""
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:3])


def entries_per_flow() -> int:
    """How many engine entries the kernel makes of one flow.

    Debian's 6.1 has the kernel flag NF_FLOW_HW_BIDIRECTIONAL without the line that sets
    it for nftables' flows, so that only the original direction reaches the driver.
    """
    return 1 if running() < (6, 2) else 2


def absent_devices_are_accepted() -> bool:
    """6.12 does not, 6.18 does: a flowtable names devices, whether they are there or not. One
    for hardware then vetoes that a device of such a name comes to be (nft_flowtable_event,
    nf_tables_api.c).
    """
    return running() >= (6, 18)


def closing_flows_stay() -> bool:
    """Since 6.14 a flow stays in the flowtable after FIN or RST, until it is idle, and
    connection tracking does not see how it ended (NF_FLOW_CLOSING, nf_flow_table_core.c).
    Of 6.12 the 113th release took that over.
    """
    release = running()
    return release >= (6, 14) or (6, 12, 113) <= release < (6, 13)


def whole_paths_only() -> bool:
    """Since 7.2 a flow is refused unless the kernel finds the device at the bottom of its
    way, and that is in the flowtable (871df5007eda). So a bridge itself takes nothing, and
    neither does what can be walked through but not for this flow: PPP without a PPPoE session
    in the kernel, IPv4 in an IPv6 tunnel.
    """
    return running() >= (7, 2)
