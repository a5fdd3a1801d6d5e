# SPDX-License-Identifier: GPL-2.0-or-later
"""A section's options, each stated once: as a field of a typed record that is a table as well.

    @configurable
    class Lamp:
        brightness: int = option(integer(0, 100), 80, "how bright it is, in percent", LAMPS)

`Lamp().brightness` is 80 for type checkers and at run time; `settings(Lamp)` is the table.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, dataclass_transform

from flowguard.core.records import frozen, mutable, replace
from flowguard.platform.configuration.kinds import Kind
from flowguard.platform.openwrt.uci import Option, Section

T = TypeVar("T")
D = TypeVar("D")


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
    """One option. A list may also be written as one option with blanks between the values.

    `group` are the options that belong together for people, as on one page of a form.
    """

    name: str
    kind: Kind[Any]
    default: Any
    meaning: str
    group: str
    is_list: bool = False

    @property
    def default_text(self) -> str:
        """The default as it would be written; "" for a list and for what has none."""
        return "" if self.default in (None, ()) else self.kind.show(self.default)


def option(kind: Kind[T], default: D, meaning: str, group: str) -> T | D:
    """A field of a `configurable` class with one value."""
    stated: Any = Setting("", kind, default, meaning, group)
    return stated  # type: ignore[no-any-return]


def option_list(kind: Kind[T], meaning: str, group: str) -> tuple[T, ...]:
    """A field with any number of values, by default with none."""
    stated: Any = Setting("", kind, (), meaning, group, is_list=True)
    return stated  # type: ignore[no-any-return]


@dataclass_transform(frozen_default=True)
def configurable(cls: type[T]) -> type[T]:
    """A frozen record of what a section says, each field an `option` or without one."""
    stated = {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}
    for name, setting in stated.items():
        setattr(cls, name, setting.default)
    made = frozen(cls)
    _TABLES[made] = tuple(replace(setting, name=name) for name, setting in stated.items())
    return made


_TABLES: dict[type, tuple[Setting, ...]] = {}


def settings(cls: type) -> tuple[Setting, ...]:
    """The options of a `configurable` class, in their order."""
    return _TABLES[cls]


@frozen
class Read(Generic[T]):
    """What a section says, with the defaults for the rest; `complete` if nothing was wrong."""

    values: T
    complete: bool


def read_section(section: Section, into: type[T], problems: Problems, consequence: str) -> Read[T]:
    """Parse the options of a section; `consequence` says what a bad or unknown one leads to."""
    by_name = {setting.name: setting for setting in settings(into)}
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
    return Read(into(**values), complete=len(problems.found) == before)


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
