# SPDX-License-Identifier: GPL-2.0-or-later
"""The options of `config flowguard 'globals'`: kind, default, meaning and group of each, once.

The parser and all defaults come from here. The README's table, the comments and values of
config/flowguard and what procd validates are compared with it by tests, and the first and the
last are written by `python -m tests.stated_options`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from flowguard.core.model import Level, Mode, PolicySettings
from flowguard.core.records import fields
from flowguard.core.tables.plan import Exclusion, OffloadSettings
from flowguard.platform.configuration import kinds
from flowguard.platform.configuration.sections import configurable, option, option_list

DAY = 86400

GENERAL = "general"
FLOWS = "flows"
COMPARISON = "comparison"
WAITING = "waiting"
FAULTS = "faults"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@configurable
class Configuration:
    """What the file says, with the default where it says nothing; times in seconds.

    An option with the name of one of the core's settings reaches it by that name.
    """

    enabled: bool = option(kinds.boolean(), False, "run the service", GENERAL)
    adopt: bool = option(
        kinds.boolean(),
        False,
        "OpenWrt: `flowguard adopt` when the package is installed, and at an image's first boot",
        GENERAL,
    )
    level: Level = option(kinds.one_of(Level), Level.HARDWARE, "the highest level wanted", GENERAL)
    mode: Mode = option(
        kinds.one_of(Mode),
        Mode.PROTECT,
        "protect; or detect-only: decide and report, change nothing",
        GENERAL,
    )
    device: tuple[str, ...] = option_list(
        kinds.device_name(),
        "take part in offloading; none listed: those below the interfaces in use",
        GENERAL,
    )
    udp: bool = option(kinds.boolean(), True, "offload UDP, not only TCP", FLOWS)
    ipv6: bool = option(kinds.boolean(), True, "offload IPv6, not only IPv4", FLOWS)
    control_share: int = option(
        kinds.share(),
        16,
        "one in so many flows goes one level lower, for comparison; 0: none",
        COMPARISON,
    )
    min_packets: int = option(
        kinds.integer(0, 10_000),
        0,
        "packets, both ways, before a flow is offloaded; spares the hardware short flows",
        FLOWS,
    )
    flow_timeout: int = option(
        kinds.duration(1, 300),
        10,
        "an idle flow leaves the hardware after this; shorter drains quicker",
        FLOWS,
    )
    drain_limit: int = option(
        kinds.duration(1, 3600),
        60,
        "a drain that takes longer is reported, and the flow timeouts are put back",
        WAITING,
    )
    boot_delay: int = option(
        kinds.duration(0, 3600), 30, "uptime before hardware is first used", WAITING
    )
    hold_off: int = option(
        kinds.duration(1, 7 * DAY), 600, "first wait before stepping up after a fault", WAITING
    )
    hold_off_limit: int = option(
        kinds.duration(1, 30 * DAY),
        DAY,
        "longest wait; it doubles with every further fault",
        WAITING,
    )
    canary_soak: int = option(
        kinds.duration(1, 7 * DAY),
        3600,
        "after a hold-off 1/16, then 1/4 of the flows try hardware, each for at least this long",
        WAITING,
    )
    forgive_after: int = option(
        kinds.duration(60, 365 * DAY),
        7 * DAY,
        "so much time on hardware without a fault makes good for one",
        WAITING,
    )
    weak_count: int = option(
        kinds.integer(1, 1000), 3, "so many weak faults count as a driver fault", FAULTS
    )
    weak_window: int = option(
        kinds.duration(1, DAY), 600, "the time within which weak faults add up", FAULTS
    )
    settle: int = option(
        kinds.duration(0, 3600), 30, "faults so soon after a step belong to what caused it", FAULTS
    )
    clear_crash_dumps: bool = option(
        kinds.boolean(),
        False,
        "delete the kernel's crash dumps (pstore) once they have been judged",
        FAULTS,
    )
    rules: tuple[str, ...] = option_list(
        kinds.absolute_path(), "files with further fault rules", FAULTS
    )
    log_level: LogLevel = option(
        kinds.one_of(LogLevel), LogLevel.INFO, "the least severe messages that are logged", GENERAL
    )
    exclusions: tuple[Exclusion, ...] = ()

    @property
    def wanted(self) -> Level:
        return self.level if self.enabled else Level.NONE

    @property
    def offload_settings(self) -> OffloadSettings:
        return OffloadSettings(**self._shared_with(OffloadSettings))

    @property
    def policy_settings(self) -> PolicySettings:
        return PolicySettings(
            **self._shared_with(PolicySettings), detect_only=self.mode is Mode.DETECT_ONLY
        )

    def _shared_with(self, core_settings: type) -> dict[str, Any]:
        return {n: getattr(self, n) for n in fields(core_settings) if n in fields(self)}
