# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults with the lines that tell of them, as the kernel wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from flowguard.core.faults import QUIET_SECONDS, FaultAssembler, FaultRules, LogRecord, logtext
from flowguard.core.model import Fault
from flowguard.core.records import frozen
from flowguard.report.document import ends_of

BEFORE = 3
"""Lines before a report that are shown: they may say what led to it."""
FIRST_LINES, LAST_LINES = 90, 20


@frozen
class FaultTrace:
    """One report of the kernel and what was found in it; `times` it came."""

    faults: tuple[Fault, ...]
    lines: tuple[str, ...]
    times: int = 1

    @property
    def title(self) -> str:
        told = dict.fromkeys(map(_in_words, self.faults))
        again = f", {self.times} times; this is the last" if self.times > 1 else ""
        return "; ".join(told) + again


def traces(rules: FaultRules, lines: Iterable[str]) -> list[FaultTrace]:
    """All in these lines, the oldest first; of what came several times the last one."""
    found: dict[tuple[tuple[str, str | None], ...], FaultTrace] = {}
    for faults, told in _reports(rules, logtext.read("\n".join(lines))):
        key = tuple((fault.rule, fault.device) for fault in faults)
        before = found.pop(key, None)
        # A moment is of the last one, whatever the log still has of earlier ones.
        times = before.times + 1 if before else 1
        found[key] = FaultTrace(tuple(faults), tuple(told), times)
    return list(found.values())


def _reports(
    rules: FaultRules, records: Sequence[LogRecord]
) -> Iterator[tuple[list[Fault], list[str]]]:
    """Faults with the lines from where their report began to where it was complete."""
    assembler = FaultAssembler(rules)
    first = former = 0
    for index, record in enumerate(records):
        if not assembler.pending or _is_quiet_before(records, index):
            first = index
        if faults := assembler.feed(record):
            yield faults, _excerpt(records, max(former, first - BEFORE), index + 1)
            first = former = index + 1
    if faults := assembler.flush():
        yield faults, _excerpt(records, max(former, first - BEFORE), len(records))


def _is_quiet_before(records: Sequence[LogRecord], index: int) -> bool:
    before, now = records[index - 1].time, records[index].time
    return index > 0 and before is not None and now is not None and now - before > QUIET_SECONDS


def _excerpt(records: Sequence[LogRecord], first: int, end: int) -> list[str]:
    lines = [logtext.stamped(record) for record in records[first:end]]
    return ends_of(lines, FIRST_LINES, LAST_LINES)


def _in_words(fault: Fault) -> str:
    who = " ".join(filter(None, (fault.device, fault.driver and f"({fault.driver})")))
    told = f"{fault.attribution} fault {fault.rule}{' on ' if who else ''}{who}"
    return f"{told}, because of {fault.because}" if fault.because else told
