# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells people and programs what happened: the log, the user's script, ubus, the event log.

Telling never raises and never waits: by then all has been done, and whoever cannot be told must
not keep the rest from hearing it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from flowguard.core.events import Decided, Moved, Notify, Severity
from flowguard.core.interface import Interface
from flowguard.core.model import Decision, Fault
from flowguard.platform.log import fields

log = logging.getLogger(__name__)

_SEVERITIES = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}


class Listener(Interface):
    """Hears of levels that the kernel was seen to hold, and of faults."""

    def moved(self, decision: Decision) -> None: ...

    def fault_seen(self, fault: Fault) -> None: ...


class Telling:
    """`health` says of each receiver that could not be told at last why not."""

    def __init__(self) -> None:
        self.health: dict[str, str] = {}
        self._listeners: dict[str, Listener] = {}

    def add(self, name: str, listener: Listener) -> None:
        self._listeners[name] = listener

    def tell(self, command: Notify | Decided | Moved) -> None:
        match command:
            case Notify(severity, message):
                self.safely("log", lambda: log.log(_SEVERITIES[severity], "%s", message))
            case Decided(decision):
                self.safely("log", lambda: _log_decision(decision))
            case Moved(decision):
                for name, listener in self._listeners.items():
                    self.safely(name, lambda told=listener: told.moved(decision))  # type: ignore[misc]

    def fault_seen(self, fault: Fault) -> None:
        self.safely("log", lambda: _log_fault(fault))
        for name, listener in self._listeners.items():
            self.safely(name, lambda told=listener: told.fault_seen(fault))  # type: ignore[misc]

    def safely(self, receiver: str, tell: Callable[[], None]) -> None:
        """Whatever goes wrong is in `health`, until the receiver can be told again."""
        try:
            tell()
        except Exception as error:
            told = f"not available: {error}"
            if self.health.get(receiver) != told:
                self.health[receiver] = told
                _complain(receiver, error)
        else:
            self.health.pop(receiver, None)


def _complain(receiver: str, error: Exception) -> None:
    try:
        log.error("%s could not be told: %s", receiver, error)
    except Exception:
        return  # It is the log itself; the status has it.


def _log_decision(decision: Decision) -> None:
    falls = decision.after.rank < decision.before.rank
    told = fields(
        device=decision.device,
        before=decision.before,
        after=decision.after,
        reason=decision.reason,
    )
    log.log(logging.WARNING if falls else logging.INFO, "%s", decision, extra=told)


def _log_fault(fault: Fault) -> None:
    told = fields(
        rule=fault.rule,
        attribution=fault.attribution,
        device=fault.device,
        driver=fault.driver,
    )
    log.warning("%s fault %s: %s", fault.attribution, fault.rule, fault.line, extra=told)
