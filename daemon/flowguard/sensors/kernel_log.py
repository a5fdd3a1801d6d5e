# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel log, followed over the lives of the daemon: no fault is missed or told twice."""

from __future__ import annotations

from collections.abc import Callable

from flowguard.core.faults import FaultRules
from flowguard.core.model import Fault
from flowguard.sensors.log_position import KmsgPosition
from flowguard.sensors.log_reader import KmsgSensor


class KernelLog:
    """Calls `on_fault`, and remembers on tmpfs how far the log has been handled."""

    def __init__(
        self, rules: FaultRules, runtime_directory: str, on_fault: Callable[[Fault], None]
    ) -> None:
        self._rules = rules
        self._position = KmsgPosition(runtime_directory)
        self._on_fault = on_fault
        self._sensor: KmsgSensor | None = None

    def listen(self) -> KmsgSensor:
        """Go on where the daemon before ended; raises OSError."""
        self._sensor = KmsgSensor(self._rules, self._found, after=self._position.load())
        return self._sensor

    def use(self, rules: FaultRules) -> None:
        """From now on; what has been read already is not read again."""
        self._rules = rules
        if self._sensor:
            self._sensor.use(rules)

    def save_position(self) -> None:
        if self._sensor:
            self._position.save(self._sensor.handled)

    def _found(self, sequence: int, fault: Fault) -> None:
        self._on_fault(fault)
        self._position.save(sequence)
