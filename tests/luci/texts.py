# SPDX-License-Identifier: GPL-2.0-or-later
"""The texts that can be translated; `python -m tests.luci.texts` writes the template of them.

It finds what LuCI's build/i18n-scan.pl finds, and writes it as that does, but folds no lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.luci.rpcd import APP

TEMPLATE = APP / "po" / "templates" / "flowguard.pot"
FEED_PATH = Path("applications") / APP.name
HEADER = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8"\n'
IN_SCRIPTS = re.compile(r"""\b_\(\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*\)""")
IN_TABLES = re.compile(r'"(?:title|description)":\s*("(?:[^"\\]|\\.)*")')


def found() -> Iterator[tuple[str, Path, int]]:
    """Each text, with the file and the line where it is."""
    scripts = ((path, IN_SCRIPTS) for path in (APP / "htdocs").rglob("*.js"))
    tables = ((path, IN_TABLES) for path in (APP / "root").rglob("*.json"))
    for path, pattern in (*scripts, *tables):
        content = path.read_text()
        for match in pattern.finditer(content):
            yield _unquoted(match[1]), path, content.count("\n", 0, match.start(1)) + 1


def template() -> str:
    places: dict[str, list[tuple[str, int]]] = {}
    for text, path, line in found():
        places.setdefault(text, []).append((str(FEED_PATH / path.relative_to(APP)), line))
    entries = [HEADER]
    for text in sorted(places, key=str.encode):
        lines = [f"#: {path}:{line}\n" for path, line in sorted(places[text])]
        entries.append(f'{"".join(lines)}msgid {json.dumps(text, ensure_ascii=False)}\nmsgstr ""\n')
    return "\n".join(entries)


def _unquoted(literal: str) -> str:
    """What a string of JavaScript or JSON says; of escapes there are only those of quotes."""
    return re.sub(r"\\(.)", r"\1", literal[1:-1])


if __name__ == "__main__":
    TEMPLATE.parent.mkdir(parents=True, exist_ok=True)
    TEMPLATE.write_text(template())
