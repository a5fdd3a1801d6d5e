# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel-log lines, one by one -> faults. Serves the live log and files alike."""

from __future__ import annotations

from collections import deque

from flowguard.core.faults.code import Accusation
from flowguard.core.faults.matcher import Context, FaultRules, Match
from flowguard.core.faults.record import LogRecord
from flowguard.core.faults.report import Report
from flowguard.core.faults.trace import LineKind, Trace, TraceLine, parse
from flowguard.core.model import Attribution, Fault
from flowguard.core.records import frozen

# A report is over when no line of it came for this long (seconds), ...
QUIET_SECONDS = 2.0
# ... for this many lines, where lines have no time, ...
QUIET_LINES = 50
# ... or when it exceeds these, because then it is none.
LONGEST_SECONDS = 20.0
LONGEST_LINES = 2000

# The first release line that could have flowtables: OpenWrt carried them from 4.14 on.
_FIRST_KERNEL = (4, 14)
_Key = tuple[str, str | None, str | None]


@frozen
class _Said:
    context: Context
    time: float | None
    text: str


@frozen
class _Message:
    match: Match
    record: LogRecord


class FaultAssembler:
    """Feed it every record in order; it returns the faults that are complete.

    While `pending` is true, `flush` must be called once the log has been quiet for
    QUIET_SECONDS, or the last report stays untold.
    """

    def __init__(self, rules: FaultRules) -> None:
        self._rules = rules
        self._reports: dict[str, Report] = {}
        self._said: _Said | None = None
        self._message: _Message | None = None
        self._history: dict[_Key, deque[float | None]] = {}
        self._told: dict[_Key, float] = {}
        self._too_old = False

    @property
    def pending(self) -> bool:
        return bool(self._reports)

    def use(self, rules: FaultRules) -> None:
        """From now on; what is under way and what was counted stays."""
        self._rules = rules

    def feed(self, record: LogRecord) -> list[Fault]:
        if not record.kernel:
            return []
        if "\n" in record.text:
            return self._feed_lines(record)
        telling = self._rules.may_match(record.text)
        if not telling and not self._reports:
            return []
        faults = self._close_old(record)
        if telling:
            faults += self._take(record)
        else:
            self._pass(record)
        return self._heeded(faults)

    def flush(self) -> list[Fault]:
        """Whatever is open is over: the log went quiet, or the file ended."""
        faults = [fault for caller in list(self._reports) for fault in self._close(caller)]
        return self._heeded(faults)

    def _feed_lines(self, record: LogRecord) -> list[Fault]:
        faults = []
        for text in record.text.split("\n"):
            faults += self.feed(
                LogRecord(text, record.time, device=record.device, caller=record.caller)
            )
        return faults

    def _heeded(self, faults: list[Fault]) -> list[Fault]:
        if not self._too_old:
            return faults
        # Vendors had packet engines before the kernel had flowtables.
        return [fault for fault in faults if fault.attribution is Attribution.OFFLOAD]

    def _take(self, record: LogRecord) -> list[Fault]:
        line = parse(record.text)
        if line and line.kind is LineKind.FRAME:
            return self._body(record, line)
        self._note_version(line)
        match = self._rules.find(record)
        if match and match.rule.report and not match.elsewhere:
            return self._start(record, match, line)
        if match:
            return self._take_message(record, match)
        if line and line.kind is LineKind.CUT:
            return self._cut(record)
        if line and line.kind is not LineKind.OTHER:
            return self._body(record, line)
        if context := self._rules.context(record.text):
            self._said = _Said(context, record.time, record.text)
        self._pass(record)
        return []

    def _note_version(self, line: TraceLine | None) -> None:
        if line and line.version:
            self._too_old = line.version < _FIRST_KERNEL

    def _pass(self, record: LogRecord) -> None:
        """A line that says nothing, perhaps another CPU's in the midst of a report."""
        report = self._reports.get(record.caller)
        if report:
            report.silent += 1
            report.expects_message = False

    # --- reports ------------------------------------------------------------------------

    def _start(self, record: LogRecord, match: Match, line: TraceLine | None) -> list[Fault]:
        report = self._reports.get(record.caller)
        faults: list[Fault] = []
        if report and report.headline and match.rule.consequence:
            # The report was the reason.
            self._touch(report, record)
            return []
        if not report or report.done or not report.young or match.rule.id in report.seen:
            faults = self._close(record.caller)
            report = self._open(record)
            if message := self._message_of(record, match):
                report.tell(message.match, message.record.text, told=True)
        report.head(match, record.text)
        if line:
            report.add(line)
            report.expects_message = line.kind is LineKind.SITE and not report.message
        self._touch(report, record)
        return faults

    def _cut(self, record: LogRecord) -> list[Fault]:
        report = self._reports.get(record.caller)
        faults: list[Fault] = []
        if not report or report.done or not report.young:
            faults = self._close(record.caller)
            report = self._open(record)
        report.expects_message = True
        self._touch(report, record)
        return faults

    def _take_message(self, record: LogRecord, match: Match) -> list[Fault]:
        """A line with a meaning of its own, unless it is the text of a WARN."""
        report = self._reports.get(record.caller)
        if report and report.awaits(match):
            report.tell(match, record.text)
            self._touch(report, record)
            return []
        self._pass(record)
        self._message = _Message(match, record)
        return self._tell(record, match)

    def _message_of(self, record: LogRecord, headline: Match) -> _Message | None:
        """What was said just before a WARN that says nothing itself: its text, most likely.

        The line that tells the two apart ("cut here") is not in every log.
        """
        message, self._message = self._message, None
        if not message or not headline.rule.generic:
            return None
        if message.match.rule.fault_class is not headline.rule.fault_class:
            return None
        before, now = message.record.time, record.time
        recent = before is None or now is None or 0 <= now - before <= QUIET_SECONDS
        return message if recent and message.record.caller == record.caller else None

    def _body(self, record: LogRecord, line: TraceLine) -> list[Fault]:
        report = self._reports.get(record.caller) or self._open(record)
        report.add(line)
        report.expects_message = False
        self._touch(report, record)
        if line.kind is LineKind.END and not report.done:
            return self._finish(report)
        return []

    def _open(self, record: LogRecord) -> Report:
        report = Report(record.time, record.text, [Trace()], set())
        self._reports[record.caller] = report
        return report

    def _touch(self, report: Report, record: LogRecord) -> None:
        report.last = record.time
        report.silent = 0
        report.length += 1

    def _close_old(self, record: LogRecord) -> list[Fault]:
        faults = []
        for caller, report in list(self._reports.items()):
            if _is_over(report, record):
                faults += self._close(caller)
        return faults

    def _close(self, caller: str) -> list[Fault]:
        report = self._reports.pop(caller, None)
        return self._finish(report) if report and not report.done else []

    def _finish(self, report: Report) -> list[Fault]:
        """Tell the report; what its tail still says must not open another."""
        report.done = True
        fault = report.fault(self._rules.code, self._suspect(report))
        return [fault] if fault and self._is_news(fault, report.opened) else []

    def _suspect(self, report: Report) -> Accusation:
        """Who spoke just before a report that names nobody."""
        said = self._said
        if not said or said.time is None or report.opened is None:
            return Accusation(Attribution.NONE)
        if not 0 <= report.opened - said.time <= said.context.seconds:
            return Accusation(Attribution.NONE)
        return Accusation(said.context.attribution, None, f"shortly after: {said.text}")

    # --- single lines -------------------------------------------------------------------

    def _tell(self, record: LogRecord, match: Match) -> list[Fault]:
        rule = match.rule
        attribution = self._attribution(record, match)
        if match.elsewhere or attribution is Attribution.NONE:
            return []
        fault = Fault(
            rule.id,
            rule.fault_class,
            attribution,
            match.device,
            match.driver,
            record.text,
            power_cycle=rule.power_cycle,
        )
        return [fault] if self._is_news(fault, record.time) else []

    def _attribution(self, record: LogRecord, match: Match) -> Attribution:
        repeated = match.rule.repeated
        if not repeated:
            return match.rule.attribution
        key = (match.rule.id, match.device, match.driver)
        times = deque(self._history.get(key, ()), repeated.count)
        times.append(record.time)
        self._history[key] = times
        first = times[0]
        recent = first is None or record.time is None or record.time - first <= repeated.seconds
        full = len(times) == repeated.count
        return repeated.attribution if full and recent else match.rule.attribution

    def _is_news(self, fault: Fault, time: float | None) -> bool:
        """False for what was said less than a second ago: dumps and bursts repeat themselves."""
        if time is None:
            return True
        key = (f"{fault.rule} {fault.attribution}", fault.device, fault.driver)
        before = self._told.get(key)
        if before is not None and 0 <= time - before < 1.0:
            return False
        if len(self._told) >= 256:
            self._told.clear()
        self._told[key] = time
        return True


def _is_over(report: Report, record: LogRecord) -> bool:
    if report.silent > QUIET_LINES and (report.last is None or record.time is None):
        return True
    if report.length > LONGEST_LINES:
        return True
    if report.last is None or record.time is None:
        return False
    # Backwards by more than CPUs differ: another boot.
    if abs(record.time - report.last) > QUIET_SECONDS:
        return True
    return report.opened is not None and record.time - report.opened > LONGEST_SECONDS
