# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service needs of the platform, beside the machine: the tests have another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from flowguard.core.faults import FaultRules
from flowguard.core.records import frozen
from flowguard.platform.configuration.loading import Loaded
from flowguard.platform.systemd.journal import PreviousBoot
from flowguard.sensors.firewall import Firewall

if TYPE_CHECKING:  # Where there is no ubus, it costs no memory.
    from flowguard.platform.openwrt.netifd import Interfaces


@frozen
class Surroundings:
    """`load` reads the configuration anew, and `load_rules` the fault rules with these files.

    `interfaces` asks netifd: None where there is none, OSError when nobody answers.
    `previous_boot` gives the log of the boot before, or raises OSError with the reason.
    """

    load: Callable[[], Awaitable[Loaded]]
    load_rules: Callable[[Sequence[str]], Awaitable[FaultRules]]
    interfaces: Callable[[], Awaitable[Interfaces | None]]
    firewall: Firewall
    previous_boot: Callable[[], PreviousBoot]
