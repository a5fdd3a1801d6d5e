# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the program's options are written down once more; `python -m tests.stated_options` does it.

That is the README's table and what the init script has procd validate.
"""

from __future__ import annotations

from pathlib import Path

from flowguard.platform.configuration.options import Configuration
from flowguard.platform.configuration.sections import Setting, settings

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
INIT_SCRIPT = ROOT / "init.d" / "flowguard"
README_MARKS = ("<!-- options: begin -->\n", "<!-- options: end -->")
VALIDATION_MARKS = ('\tuci_load_validate flowguard flowguard globals "" \\\n', "}\n")


def readme_table() -> str:
    rows = ["| option | default | allowed | meaning |", "|---|---|---|---|"]
    for setting in settings(Configuration):
        default = f"`{setting.default_text}`" if setting.default_text else ""
        kind = "list " if setting.is_list else ""
        allowed = setting.kind.allowed.partition(", as in")[0]
        rows.append(f"| {kind}`{setting.name}` | {default} | {allowed} | {setting.meaning} |")
    return "\n".join(rows) + "\n"


def validation() -> str:
    """The arguments of uci_load_validate(), as the types of validate_data(8) and defaults."""
    return " \\\n".join(f"\t\t'{_validated(s)}'" for s in settings(Configuration)) + "\n"


def _validated(setting: Setting) -> str:
    if setting.is_list:
        return f"{setting.name}:list({setting.kind.uci})"
    return f"{setting.name}:{setting.kind.uci}:{setting.default_text}"


def between(path: Path, marks: tuple[str, str]) -> str:
    """What stands in a file between two marks."""
    _, _, rest = path.read_text().partition(marks[0])
    return rest.partition(marks[1])[0]


def write(path: Path, marks: tuple[str, str], text: str) -> None:
    before, begin, rest = path.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    path.write_text(before + begin + text + end + after)


if __name__ == "__main__":
    write(README, README_MARKS, readme_table())
    write(INIT_SCRIPT, VALIDATION_MARKS, validation())
