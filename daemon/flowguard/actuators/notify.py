# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells people and programs what happened: the log, the user's script and ubus."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flowguard.actuators.hook import Hook
from flowguard.core.events import Notify, Severity
from flowguard.core.model import Decision, Fault
from flowguard.platform.log import fields

if TYPE_CHECKING:  # Where there is no ubus, it costs no memory.
    from flowguard.platform.openwrt.ubus_object import UbusObject

log = logging.getLogger(__name__)

_SEVERITIES = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}


class Telling:
    """`ubus` is None where there is none."""

    def __init__(self) -> None:
        self.hook = Hook()
        self.ubus: UbusObject | None = None

    def notify(self, command: Notify) -> None:
        log.log(_SEVERITIES[command.severity], "%s", command.message)

    def decided(self, decision: Decision) -> None:
        falls = decision.after.rank < decision.before.rank
        told = fields(
            device=decision.device,
            before=decision.before,
            after=decision.after,
            reason=decision.reason,
        )
        log.log(logging.WARNING if falls else logging.INFO, "%s", decision, extra=told)
        self.hook.decided(decision)
        if self.ubus:
            self.ubus.decided(decision)

    def fault_seen(self, fault: Fault) -> None:
        told = fields(
            rule=fault.rule,
            attribution=fault.attribution,
            device=fault.device,
            driver=fault.driver,
        )
        log.warning("%s fault %s: %s", fault.attribution, fault.rule, fault.line, extra=told)
        self.hook.fault_seen(fault)
        if self.ubus:
            self.ubus.fault_seen(fault)
