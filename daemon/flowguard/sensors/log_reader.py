# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's live log -> faults, in order, without missing or inventing any."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable

from flowguard.core.faults import QUIET_SECONDS, FaultAssembler, FaultRules, LogRecord
from flowguard.core.model import Fault
from flowguard.core.records import mutable
from flowguard.kernel.kmsg import RECORD_BYTES, KmsgRecord, netdev_of, parse

log = logging.getLogger(__name__)

DEFAULT_PATH = "/dev/kmsg"
# So many records at a time, then whatever else waits in the loop has its turn.
BATCH = 256
_COMPLAIN_SECONDS = 60.0


@mutable
class KmsgCounters:
    """`lost` were overwritten or too long to read; `forged` came from programs."""

    records: int = 0
    lost: int = 0
    forged: int = 0
    malformed: int = 0


class KmsgReader:
    """Records, as bytes -> faults with the sequence number at which they were complete.

    `after` is the sequence number of the last record that was handled before.
    """

    def __init__(self, rules: FaultRules, after: int | None = None) -> None:
        self.counters = KmsgCounters()
        self.sequence = after
        self.handled = after
        self._rules = rules
        self._assembler = FaultAssembler(rules)
        self._before: KmsgRecord | None = None

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
        return self._handled(self._assembler.feed(_to_log(record)))

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
        if self._rules.match(_to_log(before)):
            return fragment.text
        return before.text + fragment.text


def _to_log(record: KmsgRecord) -> LogRecord:
    device = netdev_of(record.device_id) if record.device_id else None
    return LogRecord(record.text, record.time, record.kernel, device, record.caller)


class KmsgSensor:
    """Reads the log from a running event loop; `on_fault` gets sequence number and fault."""

    def __init__(
        self,
        rules: FaultRules,
        on_fault: Callable[[int, Fault], None],
        *,
        after: int | None = None,
        path: str = DEFAULT_PATH,
        descriptor: int | None = None,
    ) -> None:
        """Start after the record `after`, of this boot, or with the next one.

        OSError when the log cannot be opened. `descriptor` replaces `path` in tests.
        """
        self._reader = KmsgReader(rules, after)
        self._on_fault = on_fault
        self._loop = asyncio.get_running_loop()
        self._descriptor = open_log(path, after) if descriptor is None else descriptor
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._complained = 0.0
        self._lost_told = 0
        self._loop.add_reader(self._descriptor, self._read)

    @property
    def counters(self) -> KmsgCounters:
        return self._reader.counters

    @property
    def handled(self) -> int | None:
        """What to give as `after` to the next sensor of this boot."""
        return self._reader.handled

    def use(self, rules: FaultRules) -> None:
        self._reader.use(rules)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        for _ in range(BATCH):
            try:
                data = os.read(self._descriptor, RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if not self._survives(error):
                    return
                continue
            if not data:
                self._give_up("it ended")
                return
            self._report(self._reader.take(data))
            if self._descriptor < 0:
                return
        self._complain()
        self._heard = self._loop.time()
        if self._reader.pending and not self._timer:
            self._timer = self._loop.call_later(QUIET_SECONDS, self._quiet)

    def _survives(self, error: OSError) -> bool:
        """EPIPE: overwritten, the gap in the numbers tells how much. EINVAL: too long."""
        if error.errno == errno.EINVAL:
            # The record was passed over; its number is missing and counts as lost.
            return True
        if error.errno == errno.EPIPE:
            return True
        self._give_up(error.strerror or str(error))
        return False

    def _give_up(self, why: str) -> None:
        log.error("the kernel log cannot be read any more: %s", why)
        self._report(self._reader.flush())
        self.close()

    def _quiet(self) -> None:
        self._timer = None
        rest = self._heard + QUIET_SECONDS - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._quiet)
        else:
            self._report(self._reader.flush())

    def _report(self, faults: list[tuple[int, Fault]]) -> None:
        for sequence, fault in faults:
            self._on_fault(sequence, fault)

    def _complain(self) -> None:
        now, lost = self._loop.time(), self._reader.counters.lost
        if lost == self._lost_told or (self._complained and now < self._complained):
            return
        log.warning("the kernel log was too fast: %d records lost", lost - self._lost_told)
        self._lost_told = lost
        self._complained = now + _COMPLAIN_SECONDS


def open_log(path: str, after: int | None) -> int:
    """A descriptor at the oldest record when there was one before, else after the newest."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.lseek(descriptor, 0, os.SEEK_SET if after is not None else os.SEEK_END)
    return descriptor
