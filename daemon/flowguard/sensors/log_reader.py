# SPDX-License-Identifier: GPL-2.0-or-later
"""Records of the kernel's log -> faults, in order, without missing or inventing any."""

from __future__ import annotations

from collections.abc import Callable

from flowguard.core.faults import FaultAssembler, FaultRules, LogRecord
from flowguard.core.model import Fault
from flowguard.core.records import mutable
from flowguard.kernel.kmsg import KmsgRecord, parse


@mutable
class KmsgCounters:
    """`lost` were overwritten or too long to read; `forged` came from programs."""

    records: int = 0
    lost: int = 0
    forged: int = 0
    malformed: int = 0


class KmsgReader:
    """Records, as bytes -> faults with the sequence number at which they were complete.

    `netdev_of` gives the one network device that a record's DEVICE means. `sequence` is the
    last record that was taken, and `handled` the last that is not part of an open report.
    """

    def __init__(self, rules: FaultRules, netdev_of: Callable[[str], str | None]) -> None:
        self.counters = KmsgCounters()
        self.sequence: int | None = None
        self.handled: int | None = None
        self._rules = rules
        self._netdev_of = netdev_of
        self._assembler = FaultAssembler(rules)
        self._before: KmsgRecord | None = None

    def start(self, after: int | None) -> None:
        """`after` is the sequence number of the last record that was handled before."""
        self.sequence = self.handled = after

    @property
    def pending(self) -> bool:
        return self._assembler.pending

    def use(self, rules: FaultRules) -> None:
        """Go on with these rules."""
        self._rules = rules
        self._assembler.use(rules)

    def take(self, data: bytes) -> list[tuple[int, Fault]]:
        record = parse(data)
        if record is None:
            self.counters.malformed += 1
            return []
        if self.sequence is not None:
            if record.sequence <= self.sequence:
                return []
            self.counters.lost += record.sequence - self.sequence - 1
        self.sequence = record.sequence
        self.counters.records += 1
        if not record.kernel:
            self.counters.forged += 1
            return self._handled([])
        if record.continues:
            record.text = self._joined(record)
        self._before = record
        if not self._assembler.pending and not self._rules.may_match(record.text):
            self.handled = record.sequence
            return []
        return self._handled(self._assembler.feed(self._to_log(record)))

    def flush(self) -> list[tuple[int, Fault]]:
        """The log has been quiet for QUIET_SECONDS."""
        return self._handled(self._assembler.flush())

    def _handled(self, faults: list[Fault]) -> list[tuple[int, Fault]]:
        # A restart in the midst of a report must read it again.
        if not self._assembler.pending:
            self.handled = self.sequence
        return [(self.sequence or 0, fault) for fault in faults]

    def _joined(self, fragment: KmsgRecord) -> str:
        """A fragment with what it continues, unless that has been understood already."""
        before = self._before
        if not before or before.caller != fragment.caller:
            return fragment.text
        if self._rules.match(self._to_log(before)):
            return fragment.text
        return before.text + fragment.text

    def _to_log(self, record: KmsgRecord) -> LogRecord:
        device = self._netdev_of(record.device_id) if record.device_id else None
        return LogRecord(record.text, record.time, record.kernel, device, record.caller)
