# SPDX-License-Identifier: GPL-2.0-or-later
"""What tells how the last boot ended: crash dumps, the previous boot's log, the watchdog.

To be looked at once after each boot. It says what the traces say; whether they are to
blame on offloading is for the policy, which knows whether it was in use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from flowguard.core.faults import FaultAssembler, FaultRules, LogRecord, logtext
from flowguard.core.interface import Interface
from flowguard.core.model import Fault
from flowguard.core.records import frozen
from flowguard.kernel.machine import LastBoot
from flowguard.sensors.turns import in_turns

if TYPE_CHECKING:
    from flowguard.platform.systemd.journal import PreviousBoot

# A log may begin hours before the end of its boot. What the kernel said longer ago than
# this (seconds), it survived; hung tasks and stalls take up to two minutes to kill it.
TAIL_SECONDS = 120.0
# So many lines at a time, then others on the loop have their turn.
AT_ONCE = 50
LAST_WORDS = 200
"""Lines of it that are kept for people: a trace is shorter."""
T = TypeVar("T")

_CRASH = re.compile(
    r"Kernel panic - not syncing|BUG: |\bOops\b|Unable to handle kernel|Internal error: "
    r"|general protection fault|kernel BUG at|Kernel bug detected"
)


@frozen
class CrashEvidence:
    """How the last boot ended, as far as it left traces.

    `faults` are what its end says against drivers and offloading. `crash` is the kernel's
    own headline of the crash; with no faults it is the trace of something unrelated, and
    empty means that there is no trace of a crash. `watchdog`: the hardware watchdog says
    that it caused this boot. `judged` identifies all traces that are here now: they stay
    for many boots, and given to the next `look` they are not judged again. `sources` says
    in words how each source did. `last_words` are the last lines of that trace.
    """

    faults: tuple[Fault, ...] = ()
    crash: str = ""
    watchdog: bool = False
    judged: tuple[str, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    last_words: tuple[str, ...] = ()


@frozen
class _Trace:
    faults: tuple[Fault, ...] = ()
    crash: str = ""
    last_words: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.faults or self.crash)


class Beside(Interface):
    """Does something that takes long without holding the loop up."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


async def directly(work: Callable[[], T]) -> T:
    """Where nobody waits meanwhile."""
    return work()


async def look(
    rules: FaultRules,
    judged: Sequence[str],
    last_boot: LastBoot,
    previous_boot: Callable[[], PreviousBoot],
    beside: Beside = directly,
) -> CrashEvidence:
    """Look everywhere; what is missing or unreadable is told in `sources`, never raised.

    `beside` does beside the loop what takes long: a dump is a quarter of a megabyte of text.

    `previous_boot` gives the log of the boot before, or raises OSError with the reason.
    """
    dumps, dumps_state = await beside(last_boot.dumps)
    previous, journal_state = await beside(lambda: _journal(previous_boot))
    new = [dump for dump in dumps.dumps if not set(dump.identities) <= set(judged)]
    texts = [await beside(partial(logtext.read, dump.text)) for dump in new]
    read = list(zip(new, texts, strict=True))
    crashes = [await _judge(rules, text, dump.reason) for dump, text in read if dump.is_crash]
    consoles = [await _judge(rules, text) for dump, text in read if not dump.is_crash]
    journals = []
    present = [identity for dump in dumps.dumps for identity in dump.identities]
    if previous:
        identity = f"journal:{previous.boot_id}"
        present.append(identity)
        if identity not in judged:
            journals.append(await _judge(rules, previous.records))
    # The same crash may be in several places: the first that has it tells most.
    found = next((traces for traces in (crashes, consoles, journals) if any(traces)), [])
    reset = last_boot.watchdog_reset()
    return CrashEvidence(
        faults=tuple(dict.fromkeys(fault for trace in found for fault in trace.faults)),
        crash=next((trace.crash for trace in reversed(found) if trace.crash), ""),
        watchdog=bool(reset),
        judged=tuple(present),
        sources=(
            ("pstore", dumps_state),
            ("journal", journal_state),
            ("watchdog", _watchdog_state(reset)),
        ),
        last_words=next((trace.last_words for trace in reversed(found) if trace), ()),
    )


async def _judge(rules: FaultRules, records: Sequence[LogRecord], reason: str = "") -> _Trace:
    """`reason` says that this is the dump of a crash, whatever is legible in it."""
    assembler = FaultAssembler(rules)
    tail = _tail(records)
    faults: list[Fault] = []
    async for record in in_turns(tail, AT_ONCE):
        faults += assembler.feed(record)
    faults += assembler.flush()
    headlines = (r.text.strip() for r in tail if r.kernel and _CRASH.search(r.text))
    last_words = tuple(map(logtext.stamped, tail[-LAST_WORDS:]))
    return _Trace(tuple(faults), next(headlines, reason), last_words)


def _tail(records: Sequence[LogRecord]) -> Sequence[LogRecord]:
    end = next((r.time for r in reversed(records) if r.time is not None), None)
    if end is None:
        return records
    for index, record in enumerate(records):
        if record.time is not None and record.time >= end - TAIL_SECONDS:
            return records[index:]
    return records


def _journal(previous_boot: Callable[[], PreviousBoot]) -> tuple[PreviousBoot | None, str]:
    try:
        previous = previous_boot()
    except OSError as error:
        return None, f"not available: {error.strerror or error}"
    return previous, f"ok, {len(previous.records)} lines of the boot before"


def _watchdog_state(reset: bool | None) -> str:
    if reset is None:
        return "not available: no watchdog tells"
    return "ok, it reset the system" if reset else "ok, it did not reset the system"
