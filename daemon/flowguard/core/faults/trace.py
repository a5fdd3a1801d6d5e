# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines of a kernel dump: where it happened, the call trace, the workqueue.

Formats: arch/{x86,arm,arm64,mips,riscv} show_regs() and dump_backtrace(), kernel/panic.c,
kernel/workqueue.c print_worker_info(), lib/dump_stack.c.
"""

from __future__ import annotations

import re
from enum import StrEnum

from flowguard.core.records import frozen

# What every line that `parse` understands contains; the hot filter looks for these.
LITERALS = (
    "+0x",
    "Workqueue: ",
    "cut here ",
    "---[ end ",
    "Call Trace:",
    "Call trace:",
    "NMI backtrace for cpu",
    "ainted ",
    "ainted: ",
    "Linux version ",
    "running task",
    "pc : ",
    "epc   :",
    "PC is at ",
    "LR is at ",
    "WARNING: ",
)

_OFFSET = r"\+0x[0-9a-f]+/0x[0-9a-f]+"
_NAME = r"[A-Za-z_][\w.$]*"
_MODULE = r"(?: \[(?P<module>\w[\w-]*)[^\]]*\])?"
_CODE = rf"(?:(?P<symbol>{_NAME}){_OFFSET}|(?:0x)?[0-9a-f]+)(?:\(\))?{_MODULE}"
_FRAME = re.compile(
    rf"\s*(?:\[<[0-9a-f]+>\] ?)?(?P<guess>\? ?)?\(?{_CODE}\)?"
    r"(?: from .*)?(?: \([A-Z]+\))?\s*$"
)
# 32-bit arm names callee and caller in one line; the callee may lack its offset.
_ARM_FRAME = re.compile(
    rf"\s*(?:\[<[0-9a-f]+>\] ?)?\(?(?P<symbol>{_NAME})(?:{_OFFSET})?{_MODULE}\)? from .*\+0x"
)
_PC = re.compile(
    rf"(?:RIP: [0-9a-f]{{4}}:|\bE?IP: (?:[0-9a-f]{{4}}:)?|PC is at "
    rf"|NIP \[[0-9a-f]+\] |pc : (?:\[<[0-9a-f]+>\] )?"
    rf"|epc\s*: (?:[0-9a-f]{{8,16}} )?){_CODE}"
)
_RETURN = re.compile(
    rf"(?:LR is at |lr : (?:\[<[0-9a-f]+>\] )?|ra\s+: (?:[0-9a-f]{{8,16}} )?){_CODE}"
)
_SITE = re.compile(
    rf"WARNING: (?:CPU: \d+ PID: \d+ )?(?:at )?(?:(?P<file>\S+\.[chS]:\d+) )?(?:at )?{_CODE}"
)
_ACCUSED = re.compile(
    rf"BUG: K(?:\w*SAN|FENCE): \S+(?: \S+)*? in (?P<symbol>{_NAME}){_OFFSET}{_MODULE}"
)
_WORKQUEUE = re.compile(rf"Workqueue: (?P<queue>\S+) (?P<symbol>{_NAME})(?:{_OFFSET})?{_MODULE}")
_PROCESS = re.compile(r"CPU: \d+ (?:UID: \d+ )?PID: \d+ Comm: (?P<comm>.+?) (?:Not t|T)ainted")
_VERSION = re.compile(
    r"(?:(?:Not tainted|Tainted: [A-Z ]+?)\s+\(?|Linux version )(?P<major>\d+)\.(?P<minor>\d+)"
)


class LineKind(StrEnum):
    CUT = "cut"
    END = "end"
    SECTION = "section"
    SITE = "site"
    PC = "pc"
    RETURN = "return"
    FRAME = "frame"
    WORKQUEUE = "workqueue"
    OTHER = "other"


@frozen
class Code:
    """A place in the kernel; `symbol` is empty for a bare address, `module` for built-in code."""

    symbol: str = ""
    module: str = ""
    file: str = ""

    def __str__(self) -> str:
        name = self.symbol or self.file or "?"
        return f"{name} [{self.module}]" if self.module else name

    @property
    def named(self) -> bool:
        return bool(self.symbol or self.module or self.file)


@frozen
class TraceLine:
    """What one line of a dump says. `reliable` is False for `? ` frames."""

    kind: LineKind
    code: Code = Code()
    queue: str = ""
    reliable: bool = True
    version: tuple[int, int] | None = None


class Trace:
    """One CPU's or task's part of a dump, as far as it has been read."""

    __slots__ = ("caller", "frames", "pc", "queues", "site", "works")

    def __init__(self) -> None:
        self.site: Code | None = None
        self.pc: Code | None = None
        self.caller: Code | None = None
        self.frames: list[Code] = []
        self.queues: list[str] = []
        self.works: list[Code] = []

    @property
    def begun(self) -> bool:
        """Whether it says more than where a WARN stands, which comes before its trace."""
        return bool(self.pc or self.frames)

    @property
    def stack(self) -> list[Code]:
        """Reliable places from the innermost outwards, the work item's function last."""
        top = [code for code in (self.site, self.pc, self.caller) if code and code.named]
        return [*top, *self.frames, *self.works]

    def add(self, line: TraceLine) -> None:
        match line.kind:
            case LineKind.SITE:
                self.site = self.site or line.code
            case LineKind.PC:
                self.pc = self.pc or line.code
            case LineKind.RETURN:
                self.caller = self.caller or line.code
            case LineKind.FRAME:
                if line.reliable:
                    self.frames.append(line.code)
            case LineKind.WORKQUEUE:
                self.queues.append(line.queue)
                self.works.append(line.code)
            case _:
                pass


_SECTION = re.compile(r"NMI backtrace for cpu|running task|CPU: \d+ PID: |^\s*task:\S+ +state:")
_OTHERS = ("Call Trace:", "Call trace:", "Linux version ")


def parse(text: str) -> TraceLine | None:
    """The meaning of a line as part of a dump; None for a line that is not of a dump."""
    if "+0x" in text and (found := _FRAME.match(text)):
        return TraceLine(LineKind.FRAME, _code(found), reliable=not found["guess"])
    if "cut here " in text:
        return TraceLine(LineKind.CUT)
    if "---[ end " in text:
        return TraceLine(LineKind.END)
    if ("ainted" in text or "Linux" in text) and (found := _VERSION.search(text)):
        version = (int(found["major"]), int(found["minor"]))
        kind = LineKind.SECTION if _PROCESS.search(text) else LineKind.OTHER
        return TraceLine(kind, version=version)
    if "WARNING: " in text and (found := _SITE.search(text)):
        # WARN's parentheses after the function went away in 4.6.
        old = (4, 5) if text.rstrip().endswith("()") else None
        return TraceLine(LineKind.SITE, _code(found), version=old)
    if "Workqueue: " in text and (found := _WORKQUEUE.search(text)):
        return TraceLine(LineKind.WORKQUEUE, _code(found), queue=found["queue"])
    return _parse_place(text)


def _parse_place(text: str) -> TraceLine | None:
    if found := _PC.search(text) or _ACCUSED.search(text):
        return TraceLine(LineKind.PC, _code(found))
    if found := _RETURN.search(text):
        return TraceLine(LineKind.RETURN, _code(found))
    if " from " in text and (found := _ARM_FRAME.match(text)):
        return TraceLine(LineKind.FRAME, _code(found))
    if _SECTION.search(text):
        return TraceLine(LineKind.SECTION)
    if any(literal in text for literal in _OTHERS):
        return TraceLine(LineKind.OTHER)
    return None


def _code(found: re.Match[str]) -> Code:
    groups = found.groupdict()
    return Code(groups.get("symbol") or "", groups.get("module") or "", groups.get("file") or "")
