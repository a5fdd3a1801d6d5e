# SPDX-License-Identifier: GPL-2.0-or-later
"""Options as a table: what exists, what it means, and how a section is read by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowguard.core.records import frozen, mutable
from flowguard.platform.configuration.kinds import Kind
from flowguard.platform.openwrt.uci import Option, Section


@frozen
class Problem:
    """Something wrong in the configuration, in one line that says what to do."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.text}"


@mutable
class Problems:
    """Collects the problems of one file."""

    path: str
    found: list[Problem]

    def add(self, line: int, text: str) -> None:
        self.found.append(Problem(self.path, line, text))


@frozen
class Setting:
    """One option. A list may also be written as one option with blanks between the values."""

    name: str
    kind: Kind[Any]
    meaning: str
    is_list: bool = False


@frozen
class Read:
    """The good values of a section by option; `complete` if nothing in it was wrong."""

    values: dict[str, Any]
    complete: bool


def read_section(
    section: Section, settings: Sequence[Setting], problems: Problems, consequence: str
) -> Read:
    """Parse the options of a section; `consequence` says what a bad or unknown one leads to."""
    by_name = {setting.name: setting for setting in settings}
    values: dict[str, Any] = {}
    before = len(problems.found)
    for option in section.options:
        setting = by_name.get(option.name)
        if not setting:
            known = ", ".join(by_name)
            text = f"unknown option '{option.name}'; {consequence}; known are {known}"
            problems.add(option.line, text)
        elif parsed := _parse(option, setting, problems, consequence):
            values[option.name] = tuple(parsed) if setting.is_list else parsed[0]
    return Read(values, complete=len(problems.found) == before)


def _parse(option: Option, setting: Setting, problems: Problems, consequence: str) -> list[Any]:
    if option.is_list and len(option.values) > 1 and not setting.is_list:
        text = f"option '{option.name}' takes one value, not a list; {consequence}"
        problems.add(option.values[1].line, text)
        return []
    parsed = []
    for text, line in _texts(option, setting):
        try:
            parsed.append(setting.kind.parse(text))
        except ValueError:
            problems.add(line, f"{_refusal(option, setting, text)}; {consequence}")
    return list(dict.fromkeys(parsed))


def _texts(option: Option, setting: Setting) -> list[tuple[str, int]]:
    if option.is_list or not setting.is_list:
        return [(value.text, value.line) for value in option.values]
    return [(text, value.line) for value in option.values for text in value.text.split()]


def _refusal(option: Option, setting: Setting, text: str) -> str:
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    return f"option '{option.name}' cannot be {shown!r}; allowed: {setting.kind.allowed}"
