# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed, checked reading of one table of a rule file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

Choice = TypeVar("Choice", bound=StrEnum)
LARGEST = 1e9
"""More than any count or time that makes sense, and nothing that arithmetic fails on."""


class RuleError(ValueError):
    """A rule file is wrong; the message is one line naming file, rule and problem."""


class Table:
    """Takes values out of a parsed table; whatever `finish` finds left was not known."""

    def __init__(self, where: str, content: Mapping[str, object]) -> None:
        self._where = where
        self._rest = dict(content)

    def error(self, key: str, problem: str) -> RuleError:
        return RuleError(f"{self._where}: '{key}' {problem}")

    def finish(self) -> None:
        if self._rest:
            raise self.error(next(iter(self._rest)), "is not known here")

    def tables(self, key: str) -> list[Table]:
        """The tables of an array, e.g. every [[rule]]."""
        value = self._rest.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.error(key, f"must be written as [[{key}]]")
        return [Table(f"{self._where}: {key} {n}", item) for n, item in enumerate(value, 1)]

    def table(self, key: str) -> Table | None:
        value = self._rest.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(key, "must be a table")
        return Table(f"{self._where}: {key}", value)

    def name_by(self, key: str) -> str:
        """A text that error messages call this table by from now on."""
        name = self.text(key)
        self._where = f"{self._where} ({name})"
        return name

    def text(self, key: str) -> str:
        value = self.optional_text(key)
        if not value:
            raise self.error(key, "is missing")
        return value

    def optional_text(self, key: str) -> str | None:
        value = self._rest.pop(key, None)
        if value is not None and not isinstance(value, str):
            raise self.error(key, "must be a text")
        return value

    def texts(self, key: str, required: bool = False) -> tuple[str, ...]:
        value = self._rest.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise self.error(key, "must be a list of texts")
        if required and not value:
            raise self.error(key, "is missing")
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self._rest.pop(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def number(self, key: str) -> float:
        value = self._rest.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, "must be a number")
        if not 0 < value <= LARGEST:
            raise self.error(key, f"must be above 0 and at most {LARGEST:.0f}")
        return float(value)

    def count(self, key: str, most: int) -> int:
        value = self._rest.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise self.error(key, f"must be a whole number from 1 to {most}")
        return value

    def choice(self, key: str, kind: type[Choice], default: Choice | None = None) -> Choice:
        value = self._rest.pop(key, default)
        if value in list(kind):
            return kind(str(value))
        raise self.error(key, f"must be one of {', '.join(kind)}")

    def pattern(self, key: str) -> re.Pattern[str] | None:
        value = self.optional_text(key)
        if value is None:
            return None
        try:
            return re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise self.error(key, f"is no regular expression: {error}") from error
