# SPDX-License-Identifier: GPL-2.0-or-later
"""Markdown of sections, short enough for an issue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flowguard.core.records import frozen, replace

LONGEST = 60_000
"""Characters; GitHub takes 65 536 in one text."""
LEFT_OUT = "Left out, because the report would be too long for an issue."


@frozen
class Section:
    """A title with lines of Markdown; what can be missed is `optional`."""

    title: str
    lines: tuple[str, ...]
    optional: bool = False


def document(sections: Sequence[Section]) -> str:
    """All sections; of what is optional the last goes first when it would be too long."""
    kept = list(sections)
    for index in reversed(range(len(kept))):
        if len(_joined(kept)) <= LONGEST:
            break
        if kept[index].optional:
            kept[index] = replace(kept[index], lines=(LEFT_OUT,))
    return _joined(kept)


def _joined(sections: Iterable[Section]) -> str:
    parts = ["\n".join((f"## {s.title}", "", *s.lines)) for s in sections if s.lines]
    return "\n\n".join(parts) + "\n"


def fenced(lines: Iterable[str]) -> list[str]:
    """As they are; the fence is longer than any in them."""
    text = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return [fence, *text.split("\n"), fence] if text else []


def folded(summary: str, lines: Iterable[str]) -> list[str]:
    """The same, to be opened by whoever wants to see it."""
    block = fenced(lines)
    return [f"<details><summary>{summary}</summary>", "", *block, "", "</details>"] if block else []


def ends_of(lines: Sequence[str], first: int, last: int) -> list[str]:
    """The first and the last lines, with how many there are between them."""
    between = len(lines) - first - last
    if between <= 1:
        return list(lines)
    return [*lines[:first], f"[{between} lines left out]", *lines[len(lines) - last :]]


def flattened(value: Any, name: str = "") -> Iterator[str]:
    """A JSON value as lines `name.name: value`; what is empty is left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flattened(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        if any(isinstance(inner, dict | list) for inner in value):
            for number, inner in enumerate(value):
                yield from flattened(inner, f"{name}[{number}]")
        elif value:
            yield f"{name}: {', '.join(map(str, value))}"
    elif value is not None and value != "":
        # One value, one line, whatever a program has put there.
        yield f"{name}: {' '.join(str(value).splitlines())}"
