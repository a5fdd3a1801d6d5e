# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service needs of the platform, beside the machine: the tests have another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from flowguard.core.faults import FaultRules
from flowguard.core.records import frozen
from flowguard.platform.configuration.loading import Loaded
from flowguard.platform.systemd.journal import PreviousBoot
from flowguard.sensors.firewall import Firewall
from flowguard.sensors.last_boot import Beside, directly

if TYPE_CHECKING:  # Seldom asked for, or, where there is no ubus, never.
    from flowguard.checks.finding import Finding
    from flowguard.platform.openwrt.netifd import Interfaces


async def no_neighbours() -> tuple[Finding, ...]:
    """Where no other program is."""
    return ()


@frozen
class Surroundings:
    """`load` reads the configuration anew, and `load_rules` the fault rules with these files.

    `interfaces` asks netifd: None where there is none, OSError when nobody answers.
    `previous_boot` gives the log of the boot before, or raises OSError with the reason.
    `beside` does something that takes long without holding the loop up.
    `neighbours` is what `flowguard check` says of the firewall and of other programs.
    """

    load: Callable[[], Awaitable[Loaded]]
    load_rules: Callable[[Sequence[str]], Awaitable[FaultRules]]
    interfaces: Callable[[], Awaitable[Interfaces | None]]
    firewall: Firewall
    previous_boot: Callable[[], PreviousBoot]
    neighbours: Callable[[], Awaitable[Iterable[Finding]]] = no_neighbours
    beside: Beside = directly
