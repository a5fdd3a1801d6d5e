# SPDX-License-Identifier: GPL-2.0-or-later
"""The README's table of options is the one the program has."""

from __future__ import annotations

import sys
from pathlib import Path

from flowguard.core.serial import to_json
from flowguard.platform.configuration.loading import SETTINGS, Configuration

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- options: begin -->\n", "<!-- options: end -->"


def table() -> str:
    """What belongs between the marks; `python -m tests.test_readme` writes it there."""
    defaults = to_json(Configuration())
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for setting in SETTINGS:
        value = defaults[setting.name]
        if setting.name.endswith("_mark"):
            value = f"{value:#010x}"
        elif isinstance(value, bool):
            value = int(value)
        shown = f"`{value}`" if value != [] else ""
        kind = "list " if setting.is_list else ""
        rows.append(f"| {kind}`{setting.name}` | {shown} | {setting.meaning} |")
    return "\n".join(rows) + "\n"


def test_the_options_of_the_readme_are_those_of_the_program() -> None:
    text = README.read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == table()


if __name__ == "__main__":
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(before + BEGIN + table() + rest[rest.index(END) :])
    sys.exit(0)
