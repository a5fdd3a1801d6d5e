# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of kernel logs, however it was saved -> records in the order they happened.

Understood: dmesg (with or without `<N>`, callers, `-x`, `-T`), /dev/kmsg, logread,
busybox and RFC 3164 syslog, journalctl (all short forms), exported CSV, serial consoles,
console wall messages, pstore parts; quoted, coloured or marked up as people post them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from flowguard.core.faults import LogRecord
from flowguard.core.records import frozen

_MARKUP = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\x00\u200b\ufeff]")
_QUOTE = re.compile(r"^(?:\s*(?:>|\*\*|`|#|\|))+ ?")
# The kernel's longest line is far shorter; what is longer is no line of a log.
_LONGEST = 4096
# dmesg's stamp, with the caller that CONFIG_PRINTK_CALLER adds.
# dmesg -d and journalctl's short-delta say as well how long ago the line before it was.
_STAMP = re.compile(
    r"\[ *(?P<time>\d{1,9}\.\d{1,6})(?: +<[ \d.]+[ *]?>)?\](?:\[ *(?P<caller>[TC]\d+)\])?:? ?"
)
_KMSG = re.compile(r"(?P<priority>\d+),\d+,(?P<micro>\d+),[-c+](?:,[^;]*)?;")
_PRIORITY = re.compile(r"^<(?P<priority>\d{1,3})>(?:\d )?")
_FACILITY = re.compile(
    r"\b(?P<facility>kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp"
    r"|local[0-7])[. :,]+(?:emerg|alert|crit|err|error|warn|warning|notice|info|debug)\b"
)
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d+)?"
_ZONE = r"(?:Z|[+-]\d\d:?\d\d)"
_DATE = (
    rf"(?:\w{{3}} )?\w{{3}} +\d{{1,2}} {_CLOCK}(?: \w{{2,5}})?(?: \d{{4}})?"
    rf"|\w{{3}} \d{{4}}-\d\d-\d\d {_CLOCK} [A-Z]{{2,5}}"
    rf"|\d{{4}}-\d\d-\d\d[T ,]{_CLOCK}{_ZONE}?"
    r"|\d{10}\.\d{6}"
)
# dmesg -T, and dmesg --time-format=iso: whatever it prints is the kernel's.
_DMESG = re.compile(
    rf"\[(?:{_DATE})\] |\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d,\d+{_ZONE} (?![\w.-]+ kernel: )"
)
_WALL_CLOCK = re.compile(rf"^\W?(?:{_DATE})")
_SYSLOG = re.compile(
    rf"^(?:<\d{{1,3}}>)?\W?(?:{_DATE})\]? (?:(?P<host>[\w.-]+) )?(?:(?P<facility>\w+)\.\w+ )?"
    r"(?P<tag>[\w./() -]+?)(?P<pid>\[\d+\])?: ?(?P<text>.*)$"
)
_CSV = re.compile(rf"^(?:{_DATE}),\w*,[^,]*,(?P<facility>\w+),(?P<tag>[^,]*),(?P<text>.*)$")
_HOSTED = re.compile(r"^(?:[\w.-]+ )?kernel: ")
# A console shows the kernel's line behind the prompt of a shell, and whatever was typed there.
_PROMPT = re.compile(r"\[?[\w.@:~/ -]*\]?[#$>](?: .*)?$|\S+ login: *$")
_SHELL = re.compile(r"^[\w.-]+@[\w.-]+:[~/]\S*[#$] ")
_UNDATED = re.compile(r"^(?:[\w.-]+ )?(?:kern|user)\.\w+ kernel: ")
_PROGRAM = re.compile(r"^[\w./-]+\[\d+\]: ")
_WALL = re.compile(r"^\s*kernel: ?")
_TAG = re.compile(r"(?P<tag>[\w./-]+)(?:\[\d+\])?: *$")
_PSTORE = re.compile(r"^(?:Panic|Oops|Emergency|Shutdown|Unknown)#\d+ Part(?P<part>\d+)\s*$")


@frozen
class _Line:
    record: LogRecord
    clock: str


def stamped(record: LogRecord) -> str:
    """The line as dmesg prints it."""
    return record.text if record.time is None else f"[{record.time:12.6f}] {record.text}"


def read(text: str) -> list[LogRecord]:
    """All records of a saved log, the oldest first."""
    records: list[LogRecord] = []
    for part in _parts(text.split("\n")):
        lines = [_line(raw) for raw in part]
        if _newest_first(lines):
            lines.reverse()
        records += (line.record for line in lines)
    return records


def _parts(lines: Iterable[str]) -> list[list[str]]:
    """Parts of pstore dumps in order: Part1 holds the newest text of its crash."""
    ordered: list[list[str]] = [[]]
    crash = last = 0
    part = ordered[0]
    for line in lines:
        found = _PSTORE.match(line)
        if not found:
            part.append(line)
            continue
        number = int(found["part"])
        if number <= last or not crash:
            crash = len(ordered)
        part, last = [], number
        ordered.insert(crash, part)
    return ordered


def _line(raw: str) -> _Line:
    raw = _MARKUP.sub("", raw[:_LONGEST])
    stripped = _QUOTE.sub("", raw)
    clock = _WALL_CLOCK.match(stripped)
    return _Line(_record(stripped), clock[0] if clock else "")


def _record(line: str) -> LogRecord:
    if found := _KMSG.match(line):
        micro = int(found["micro"]) / 1e6
        return LogRecord(line[found.end() :], micro, int(found["priority"]) < 8)
    stamp = _STAMP.search(line, 0, 200)
    if stamp and _is_prefix(line[: stamp.start()]):
        return _stamped(line[: stamp.start()], stamp, line[stamp.end() :])
    if found := _DMESG.match(line):
        return LogRecord(line[found.end() :])
    if found := _CSV.match(line) or _SYSLOG.match(line):
        # Where klogd knows no facility it writes for the kernel as `user`, without any stamp.
        kernel = found["tag"].strip() == "kernel" and found["facility"] in (None, "kern", "user")
        return LogRecord(found["text"], kernel=kernel)
    text = _SHELL.sub("", _PRIORITY.sub("", line))
    if found := _WALL.match(text) or _UNDATED.match(text):
        return LogRecord(text[found.end() :])
    return LogRecord(text, kernel=_marked_kernel(line) is not False and not _PROGRAM.match(text))


def _stamped(before: str, stamp: re.Match[str], text: str) -> LogRecord:
    kernel = _of_kernel(before)
    if hosted := _HOSTED.match(text):
        text = text[hosted.end() :]
    elif _PROGRAM.match(text) or re.match(r"[\w.-]+ [\w./-]+\[\d+\]: ", text):
        kernel = False
    return LogRecord(text, float(stamp["time"]), kernel, caller=stamp["caller"] or "")


def _is_prefix(before: str) -> bool:
    """Whether this can stand before the kernel's stamp: a date, a host, a facility, a shell's
    prompt, noise."""
    known = _PRIORITY.match(before) or _FACILITY.search(before) or _WALL_CLOCK.match(before)
    known = known or _PROMPT.match(before)
    return bool(known) or "kern" in before or not re.search(r"\w{3}", before)


def _of_kernel(before: str) -> bool:
    """Whether the kernel wrote the line that has this before its stamp."""
    marked = _marked_kernel(before)
    if marked is None and _PROMPT.match(before):
        return True
    if marked is None and (found := _TAG.search(before[-80:])):
        return found["tag"] in ("kernel", "kern")
    return marked is not False


def _marked_kernel(text: str) -> bool | None:
    """What a priority or a facility says; None when there is neither."""
    if found := _PRIORITY.match(text):
        return int(found["priority"]) < 8
    if found := _FACILITY.search(text, 0, 120):
        return found["facility"] == "kern"
    return None


def _newest_first(lines: Sequence[_Line]) -> bool:
    times = [line.record.time for line in lines if line.record.time is not None]
    clocks = [line.clock for line in lines if line.clock]
    by_time = sum((a < b) - (a > b) for a, b in pairwise(times))
    by_clock = sum((a < b) - (a > b) for a, b in pairwise(clocks))
    return (by_time or by_clock or _trace_direction(lines)) < 0


def _trace_direction(lines: Sequence[_Line]) -> int:
    """Without any time: frames follow "Call Trace:" in a log that runs forward."""
    direction = 0
    for index, line in enumerate(lines):
        if line.record.text.strip().lower() == "call trace:":
            after = lines[index + 1 : index + 2]
            before = lines[index - 1 : index] if index else []
            direction += any("+0x" in other.record.text for other in after)
            direction -= any("+0x" in other.record.text for other in before)
    return direction
