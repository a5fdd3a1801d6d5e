# SPDX-License-Identifier: GPL-2.0-or-later
"""Fault rules: from parsed TOML to something that reads 100 000 lines a second."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from flowguard.core.events import Severity
from flowguard.core.faults import trace
from flowguard.core.faults.code import CodeGroup, CodeMap, Owner
from flowguard.core.faults.record import LogRecord
from flowguard.core.faults.table import RuleError, Table
from flowguard.core.faults.words import filter_for
from flowguard.core.model import Attribution, FaultClass
from flowguard.core.records import frozen

__all__ = ["FaultRule", "FaultRules", "RuleError", "RuleSource"]


@frozen
class RuleSource:
    """A parsed rule file; `name` is what error messages call it."""

    name: str
    content: Mapping[str, object]


MOST_REPEATED = 1000
"""So many times are remembered of each rule, device and driver."""


@frozen
class Repeated:
    """Seen `count` times within `seconds`, a fault is attributed more strongly."""

    count: int
    seconds: float
    attribution: Attribution


@frozen
class FaultRule:
    """What a line of the kernel's log means.

    `attribution` holds when nothing else is known; with `report` a dump follows that knows
    better, but never counts for more than `at_most`. A `generic` line leaves the name of
    the fault to a more telling one beside it; a `consequence` belongs to the report before
    it. `drivers` limits the rule to those drivers, whoever they are, `ethernet` to lines that
    name a netdev or a known Ethernet driver. `power_cycle`: nothing else cures it.
    """

    id: str
    fault_class: FaultClass
    attribution: Attribution
    severity: Severity
    means: str
    literals: tuple[str, ...]
    pattern: re.Pattern[str] | None
    report: bool
    generic: bool
    consequence: bool
    ethernet: bool
    power_cycle: bool
    at_most: Attribution
    driver: str | None
    drivers: frozenset[str]
    repeated: Repeated | None
    matches: tuple[str, ...]
    ignores: tuple[str, ...]

    def match(self, text: str) -> Match | None:
        if not any(literal in text for literal in self.literals):
            return None
        groups: Mapping[str, str | None] = {}
        if self.pattern:
            found = self.pattern.search(text)
            if not found:
                return None
            groups = found.groupdict()
        speaker = _speaker(text)
        driver = groups.get("driver") or speaker.driver or self.driver
        if self.drivers and (driver or "").replace("-", "_") not in self.drivers:
            return None
        return Match(self, groups.get("device") or speaker.device, driver, speaker.on_usb)


@frozen
class Match:
    """A line that a rule knows.

    `elsewhere`: it is about a driver that offloading has nothing to do with.
    """

    rule: FaultRule
    device: str | None
    driver: str | None
    elsewhere: bool = False


@frozen
class Context:
    """A harmless message that tells who was at work when a nameless dump follows."""

    id: str
    attribution: Attribution
    means: str
    seconds: float
    literals: tuple[str, ...]
    matches: tuple[str, ...]
    ignores: tuple[str, ...]


@frozen
class _Speaker:
    driver: str | None = None
    device: str | None = None
    on_usb: bool = False


# dev_printk(): "driver bus-id: ", netdev_printk(): "driver bus-id netdev[ (state)]: ".
_DEV_PREFIX = re.compile(
    r"(?P<driver>[A-Za-z][\w+-]*) (?P<bus>(?=[\w:.@+-]*\d)[\w:.@+-]*[\w@+-])"
    r"(?: (?P<device>[\w.@-]{1,15})(?: \([^)]*\))*)?: "
)
# An interface of a USB device (usb_set_configuration()); nothing on USB has a packet engine.
_ON_USB = re.compile(r"\d+-\d+(?:\.\d+)*:\d+\.\d+")
_NETDEV_PREFIX = re.compile(r"(?P<device>(?:eth|lan|wan|en[opsx]|swp|sfp|port)[\w.-]{0,12}): ")


def _speaker(text: str) -> _Speaker:
    if found := _DEV_PREFIX.match(text):
        on_usb = _ON_USB.fullmatch(found["bus"]) is not None
        return _Speaker(found["driver"], found["device"], on_usb)
    if found := _NETDEV_PREFIX.match(text):
        return _Speaker(None, found["device"])
    return _Speaker()


class FaultRules:
    """All rules, compiled. Use `compile`.

    `left_out` names the files that could not be used, a line each with the reason.
    """

    left_out: tuple[str, ...] = ()

    def __init__(
        self, rules: Iterable[FaultRule], contexts: Iterable[Context], code: CodeMap
    ) -> None:
        self.rules = tuple(rules)
        self.contexts = tuple(contexts)
        self.code = code
        literals = {literal for rule in self.rules for literal in rule.literals}
        literals |= {literal for context in self.contexts for literal in context.literals}
        self._candidate = filter_for([*literals, *trace.LITERALS])

    @classmethod
    def compile(cls, sources: Iterable[RuleSource]) -> FaultRules:
        """Raise RuleError with one line naming file, rule and problem."""
        rules: dict[str, FaultRule] = {}
        contexts: list[Context] = []
        groups: list[CodeGroup] = []
        for source in sources:
            top = Table(source.name, source.content)
            for table in top.tables("rule"):
                rule = _rule(table)
                if rule.id in rules:
                    raise table.error("id", "is used twice")
                rules[rule.id] = rule
            contexts += [_context(table) for table in top.tables("context")]
            groups += [_code_group(table) for table in top.tables("code")]
            top.finish()
        return cls(rules.values(), contexts, CodeMap(groups))

    def may_match(self, text: str) -> bool:
        """False for an ordinary line, cheaply."""
        return self._candidate.search(text) is not None

    def match(self, record: LogRecord) -> Match | None:
        """The first rule for the line, unless its driver has nothing to do with forwarding."""
        found = self.find(record)
        return None if found and found.elsewhere else found

    def find(self, record: LogRecord) -> Match | None:
        """The first rule for the line, whosever driver it is about."""
        for rule in self.rules:
            found = rule.match(record.text)
            if not found:
                continue
            owner = self.code.driver_owner(found.driver) if found.driver else None
            device = found.device or record.device
            if found.elsewhere or (owner is Owner.UNRELATED and not rule.drivers):
                return Match(rule, device, found.driver, elsewhere=True)
            if not rule.ethernet or device or owner is Owner.DRIVER:
                return Match(rule, device, found.driver)
        return None

    def context(self, text: str) -> Context | None:
        for context in self.contexts:
            if any(literal in text for literal in context.literals):
                return context
        return None


def _rule(table: Table) -> FaultRule:
    rule = FaultRule(
        id=table.name_by("id"),
        fault_class=table.choice("class", FaultClass),
        attribution=table.choice("attribution", Attribution),
        severity=table.choice("severity", Severity, Severity.ERROR),
        means=table.text("means"),
        literals=table.texts("literals", required=True),
        pattern=table.pattern("regex"),
        report=table.flag("report"),
        generic=table.flag("generic"),
        consequence=table.flag("consequence"),
        ethernet=table.flag("ethernet"),
        power_cycle=table.flag("power_cycle"),
        at_most=table.choice("at_most", Attribution, Attribution.OFFLOAD),
        driver=table.optional_text("driver"),
        drivers=frozenset(name.replace("-", "_") for name in table.texts("drivers")),
        repeated=_repeated(table),
        matches=table.texts("matches", required=True),
        ignores=table.texts("ignores"),
    )
    table.finish()
    return rule


def _repeated(table: Table) -> Repeated | None:
    inner = table.table("repeated")
    if not inner:
        return None
    repeated = Repeated(
        inner.count("count", MOST_REPEATED),
        inner.number("seconds"),
        inner.choice("attribution", Attribution),
    )
    inner.finish()
    return repeated


def _context(table: Table) -> Context:
    context = Context(
        id=table.name_by("id"),
        attribution=table.choice("attribution", Attribution),
        means=table.text("means"),
        seconds=table.number("seconds"),
        literals=table.texts("literals", required=True),
        matches=table.texts("matches", required=True),
        ignores=table.texts("ignores"),
    )
    table.finish()
    return context


def _code_group(table: Table) -> CodeGroup:
    driver = table.optional_text("driver")
    names = {driver} if driver else set()
    group = CodeGroup(
        owner=table.choice("owner", Owner),
        driver=driver,
        symbols=table.texts("symbols"),
        modules=frozenset(table.texts("modules")),
        drivers=frozenset(n.replace("-", "_") for n in (*table.texts("drivers"), *names)),
        files=table.texts("files"),
    )
    table.finish()
    return group
