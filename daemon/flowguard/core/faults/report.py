# SPDX-License-Identifier: GPL-2.0-or-later
"""One multi-line report of the kernel while it is being read."""

from __future__ import annotations

from flowguard.core.faults.code import Accusation, CodeMap, strength
from flowguard.core.faults.matcher import Match
from flowguard.core.faults.trace import LineKind, Trace, TraceLine
from flowguard.core.model import Attribution, Fault, FaultClass
from flowguard.core.records import mutable

_UNKNOWN = Accusation(Attribution.NONE)


@mutable
class Report:
    """Headline, message and traces. Without a headline it is a fragment: its start was lost.

    `told`: the message has been told as a fault by itself.
    """

    opened: float | None
    first: str
    traces: list[Trace]
    seen: set[str]
    headline: Match | None = None
    line: str = ""
    message: Match | None = None
    text: str = ""
    told: bool = False
    last: float | None = None
    silent: int = 0
    length: int = 0
    expects_message: bool = False
    done: bool = False

    @property
    def young(self) -> bool:
        """Still at its headlines: no trace has come."""
        return len(self.traces) == 1 and not (self.traces[0].pc or self.traces[0].frames)

    def head(self, match: Match, text: str) -> None:
        """Take a headline; one that only says "a dump follows" yields to a telling one."""
        self.seen.add(match.rule.id)
        if not self.headline or (self.headline.rule.generic and not match.rule.generic):
            self.headline = match
            self.line = text

    def awaits(self, match: Match) -> bool:
        """Whether this is the text of the WARN: it comes next to it, or is of its kind."""
        if self.message or self.done:
            return False
        rule = self.headline.rule if self.headline else None
        same = rule is not None and rule.generic and rule.fault_class is match.rule.fault_class
        return self.expects_message or same

    def tell(self, match: Match, text: str, told: bool = False) -> None:
        """Take the text that a WARN was given."""
        self.message = match
        self.text = text
        self.told = told

    def add(self, line: TraceLine) -> None:
        if line.kind is LineKind.SECTION and self.traces[-1].begun:
            self.traces.append(Trace())
        self.traces[-1].add(line)

    def fault(self, code: CodeMap, context: Accusation = _UNKNOWN) -> Fault | None:
        """The fault, or None when it implicates nothing; `context` decides a nameless one."""
        verdict = self._verdict(code, context)
        if verdict.attribution is Attribution.NONE:
            return None
        if self.told and self.message and self.message.rule.attribution is verdict.attribution:
            return None
        match = self.message or self.headline
        return Fault(
            rule=match.rule.id if match else "trace-without-start",
            fault_class=match.rule.fault_class if match else self._fragment_class(),
            attribution=verdict.attribution,
            device=match.device if match else None,
            driver=(match.driver if match else None) or verdict.driver,
            line=self.text or self.line or self.first,
            because=verdict.because,
            power_cycle=match.rule.power_cycle if match else False,
            by_look=verdict.by_look,
        )

    def _verdict(self, code: CodeMap, context: Accusation) -> Accusation:
        if not self.headline:
            verdict = self._traced(code, Attribution.NONE)
            # Somebody's dump of a running driver looks the same.
            weak = verdict.attribution is Attribution.DRIVER
            verdict = Accusation(Attribution.WEAK, None, verdict.because) if weak else verdict
        else:
            rule = self.headline.rule
            verdict = self._traced(code, Attribution.NONE if self._elsewhere else rule.attribution)
            if verdict.attribution is Attribution.WEAK and self._nameless(code):
                verdict = max(verdict, context, key=_rank)
            if strength(verdict.attribution) > strength(rule.at_most):
                verdict = Accusation(rule.at_most)
        if self.message and not self.message.elsewhere:
            message = Accusation(self.message.rule.attribution, self.message.driver)
            verdict = max(verdict, message, key=_rank)
        return verdict

    @property
    def _elsewhere(self) -> bool:
        """The text of the WARN names somebody else, so what is not known is not ours."""
        return self.message is not None and self.message.elsewhere

    def _traced(self, code: CodeMap, default: Attribution) -> Accusation:
        # A trace without a name must not outvote one that clears the suspicion.
        traces = [trace for trace in self.traces if not code.names_nothing(trace)]
        judged = [code.judge(trace, default) for trace in traces]
        return max(judged, key=_rank, default=Accusation(default))

    def _nameless(self, code: CodeMap) -> bool:
        return all(code.names_nothing(trace) for trace in self.traces)

    def _fragment_class(self) -> FaultClass:
        if self.traces[0].site:
            return FaultClass.KERNEL_WARNING
        if any(trace.pc for trace in self.traces):
            return FaultClass.KERNEL_OOPS
        return FaultClass.LOCKUP_OR_STALL


def _rank(verdict: Accusation) -> int:
    return strength(verdict.attribution)
